-- Shared by the steps of event aggregation: one consumer, and the two indexes of its partition.
--
-- KEYS[1]  consumer  hash: definition, state and totals
-- KEYS[2]  window    hash: the open window; absent while no event waits for a trigger
-- KEYS[3]  outbox    sorted set: trigger's id, scored by the millisecond from which it may be leased
-- KEYS[4]  triggers  hash: <id> record, <id>:n attempts, <id>:t token of the lease, <id>:e last error
-- KEYS[5]  due       sorted set of the partition: consumer, scored by the millisecond its window closes at
-- KEYS[6]  ready     sorted set of the partition: consumer, scored by the millisecond its outbox is to be looked at
-- ARGV[1]  the consumer's name
local CONSUMER, WINDOW, OUTBOX, TRIGGERS, DUE, READY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local NAME = ARGV[1]
local OPS = {'c', 'u', 'd', 'r', 't', 'm'}

-- Returns the definition, nil if there is no such consumer. A threshold of 0 is none.
local function definition()
  local fields = redis.call('HMGET', CONSUMER, 'state', 'uid', 'max_events', 'max_time_ms', 'retention_ms',
    'timeline_max', 'dedupe_ms', 'dedupe_max', 'push', 'triggers')
  if not fields[1] then
    return nil
  end
  return {
    state = fields[1], uid = fields[2], max_events = tonumber(fields[3]), max_time = tonumber(fields[4]),
    retention = tonumber(fields[5]), timeline_max = tonumber(fields[6]), dedupe = tonumber(fields[7]),
    dedupe_max = tonumber(fields[8]), push = fields[9] == '1', triggers = tonumber(fields[10] or 0),
  }
end

-- Returns the open window, nil if there is none.
local function open_window()
  local fields = redis.call('HMGET', WINDOW, 'n', 'first', 'last', 'low', 'high', unpack(OPS))
  if not fields[1] then
    return nil
  end
  local window = {n = tonumber(fields[1]), first = tonumber(fields[2]), last = tonumber(fields[3]),
    low = tonumber(fields[4]), high = tonumber(fields[5])}
  for index, op in ipairs(OPS) do
    window[op] = tonumber(fields[5 + index])
  end
  return window
end

-- Enters the consumer among those whose window closes by itself, or takes it out.
local function index_window(def, window)
  if window and def.max_events > 0 and window.n >= def.max_events then
    redis.call('ZADD', DUE, text(window.last), NAME)
  elseif window and def.max_time > 0 then
    redis.call('ZADD', DUE, text(window.first + def.max_time), NAME)
  else
    redis.call('ZREM', DUE, NAME)
  end
end

-- Sets when the window expires, counted from its first event. One that closes by itself must not expire before
-- somebody has noticed.
local function limit_window(def, window)
  if def.max_time > 0 then
    redis.call('PERSIST', WINDOW)
  else
    redis.call('PEXPIREAT', WINDOW, text(window.first + def.retention))
  end
end

-- Enters the consumer among those with something to deliver, or takes it out.
local function index_outbox(def)
  local head = redis.call('ZRANGE', OUTBOX, 0, 0, 'WITHSCORES')
  if head[2] and def.push then
    redis.call('ZADD', READY, head[2], NAME)
  else
    redis.call('ZREM', READY, NAME)
  end
end

-- Triggers fired by this step: ids and records in turn, and how many events they stand for.
local fired, fired_events = {}, 0

-- Turns a window into a trigger: {version, reason, events, start, end, created, source times, events by operation}.
local function fire(def, window, reason, ends, now)
  def.triggers = def.triggers + 1
  fired_events = fired_events + window.n
  local record = {'1', reason, text(window.n), text(window.first), text(ends), text(now),
    window.low and text(window.low) or '', window.high and text(window.high) or ''}
  for _, op in ipairs(OPS) do
    record[#record + 1] = text(window[op])
  end
  fired[#fired + 1] = def.uid .. '-' .. string.format('%010.0f', def.triggers)
  fired[#fired + 1] = table.concat(record, ';')
end

-- Writes the fired triggers to the outbox.
local function publish(def, now)
  if #fired == 0 then
    return
  end
  for index = 1, #fired, 2 do
    redis.call('HSET', TRIGGERS, fired[index], fired[index + 1])
    redis.call('ZADD', OUTBOX, text(now), fired[index])
  end
  redis.call('HSET', CONSUMER, 'triggers', text(def.triggers), 'last_id', fired[#fired - 1], 'last', fired[#fired])
  redis.call('HINCRBY', CONSUMER, 'fired', text(fired_events))
  index_outbox(def)
end
