-- Shared by the steps of event aggregation: one consumer, the queue in which its triggers are jobs, and the two indexes of its partition.
--
-- KEYS[1..21]  queue, see jobs/queue.lua; here are only the places of jobs that are not ended: waiting, delayed and active
-- KEYS[22]     consumer  hash: definition, state and totals
-- KEYS[23]     window    hash: the open window; absent while no event waits for a trigger
-- KEYS[24]     due       sorted set of the partition: consumer, scored by the millisecond its window closes at
-- KEYS[25]     ready     sorted set of the partition: consumer, scored by the millisecond its queue is to be looked at
-- ARGV[1]      see jobs/moves.lua
-- ARGV[2]      the consumer's name
local QUEUED = {KEYS[4], KEYS[5], KEYS[6]}
local CONSUMER, WINDOW, DUE, READY = KEYS[22], KEYS[23], KEYS[24], KEYS[25]
local NAME = ARGV[2]
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

-- How many triggers wait for delivery, or are being delivered.
local function waiting()
  local count = 0
  for _, key in ipairs(QUEUED) do
    count = count + redis.call('ZCARD', key)
  end
  return count
end

-- Enters the consumer among those with something to deliver, by when: now if a job waits, otherwise when the next comes due or a lease ends. Or takes
-- it out.
local function index_queue(def)
  local moments = {}
  if def and def.push then
    moments[1] = redis.call('ZCARD', QUEUED[1]) > 0 and now_ms() or nil
    for index = 2, 3 do
      moments[#moments + 1] = tonumber(redis.call('ZRANGE', QUEUED[index], 0, 0, 'WITHSCORES')[2])
    end
  end
  if #moments > 0 then
    redis.call('ZADD', READY, text(math.min(unpack(moments))), NAME)
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
