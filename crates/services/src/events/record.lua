-- Counts events, and fires for every threshold they cross.
--
-- KEYS[1..25]  the consumer
-- KEYS[26]     timeline  sorted set: sequence;op;source time;key, scored by the millisecond of arrival
-- KEYS[27]     seen      sorted set: event id, scored by the millisecond it is forgotten at
-- ARGV[3]      most triggers that wait
-- ARGV[4]      see publish.lua
-- ARGV[5..]    four per event: id or '', operation or '', source time in ms or '', key or ''
-- returns      {'absent'} | {'stopped'} | {'full', triggers waiting}
--              | {'ok', now, one digit per event: 1 counted, 0 known already, events in the open window, its first
--                 and last time, {id, record, ... of the triggers fired}}
local TIMELINE, SEEN = KEYS[26], KEYS[27]
-- How many old events and ids a step removes, besides as many as it adds; so they cannot pile up.
local PRUNE_STEP = 64

-- Removes the oldest elements, `count` of them unless that is more than a step may.
local function remove_oldest(key, count, added)
  count = math.min(count, added + PRUNE_STEP)
  if count > 0 then
    redis.call('ZREMRANGEBYRANK', key, 0, count - 1)
  end
end

local def = definition()
if not def then
  return {'absent'}
end
if def.state ~= 'running' then
  return {'stopped'}
end
local now, window, offered = now_ms(), open_window(), (#ARGV - 4) / 4

-- Refuse before anything is written if the triggers might not fit.
local ahead, crossings = waiting(), 1
if def.max_events > 0 then
  crossings = 1 + math.floor(((window and window.n or 0) + offered) / def.max_events)
end
if ahead + crossings > tonumber(ARGV[3]) then
  return {'full', ahead}
end

-- A clock that went back stands still until it has caught up.
if window and window.last > now then
  now = window.last
end
-- The window's time is over although nobody has looked: what comes now belongs to the next.
local changed = false
if window and def.max_time > 0 and now >= window.first + def.max_time then
  fire(def, window, 'TIME_THRESHOLD', window.first + def.max_time, now)
  window, changed = nil, true
end

local forgotten_at, with_ids = text(now + def.dedupe), false
local flags, counted = {}, {}

-- Remembers an id; tells whether it was known. One whose time is over may still lie there.
local function is_known(id)
  if redis.call('ZADD', SEEN, 'NX', forgotten_at, id) == 1 then
    return false
  end
  if tonumber(redis.call('ZSCORE', SEEN, id)) > now then
    return true
  end
  redis.call('ZADD', SEEN, forgotten_at, id)
  return false
end

for index = 5, #ARGV, 4 do
  local id, op, source = ARGV[index], ARGV[index + 1], tonumber(ARGV[index + 2])
  with_ids = with_ids or id ~= ''
  if id ~= '' and is_known(id) then
    flags[#flags + 1] = '0'
  else
    flags[#flags + 1] = '1'
    counted[#counted + 1] = index
    if not window then
      window, changed = {n = 0, first = now, c = 0, u = 0, d = 0, r = 0, t = 0, m = 0}, true
    end
    window.n, window.last = window.n + 1, now
    if op ~= '' then
      window[op] = window[op] + 1
    end
    if source then
      window.low, window.high = math.min(window.low or source, source), math.max(window.high or source, source)
    end
    if def.max_events > 0 and window.n >= def.max_events then
      fire(def, window, 'EVENT_THRESHOLD', now, now)
      window, changed = nil, true
    end
  end
end
if with_ids then
  local over = redis.call('ZCOUNT', SEEN, '-inf', text(now))
  remove_oldest(SEEN, math.max(over, redis.call('ZCARD', SEEN) - def.dedupe_max), #flags)
  redis.call('PEXPIREAT', SEEN, forgotten_at)
end

if not window then
  redis.call('DEL', WINDOW)
elseif #counted > 0 then
  redis.call('HSET', WINDOW, 'n', text(window.n), 'first', text(window.first), 'last', text(window.last),
    'low', window.low and text(window.low) or '', 'high', window.high and text(window.high) or '',
    'c', window.c, 'u', window.u, 'd', window.d, 'r', window.r, 't', window.t, 'm', window.m)
  if changed then
    limit_window(def, window)
  end
end
if changed then
  index_window(def, window)
end

if #counted > 0 then
  local sequence = redis.call('HINCRBY', CONSUMER, 'events', #counted) - #counted
  local entries = {}
  for offset, index in ipairs(counted) do
    entries[#entries + 1] = text(now)
    entries[#entries + 1] = string.format('%016.0f', sequence + offset) .. ';' .. ARGV[index + 1] .. ';'
      .. ARGV[index + 2] .. ';' .. ARGV[index + 3]
  end
  remove_oldest(TIMELINE, redis.call('ZCOUNT', TIMELINE, '-inf', text(now - def.retention)), #counted)
  redis.call('ZADD', TIMELINE, unpack(entries))
  local surplus = math.min(redis.call('ZCARD', TIMELINE) - def.timeline_max, #counted + PRUNE_STEP)
  if surplus > 0 then
    local last = redis.call('ZRANGE', TIMELINE, surplus - 1, surplus - 1, 'WITHSCORES')
    redis.call('HSET', CONSUMER, 'trimmed_ms', last[2])
    remove_oldest(TIMELINE, surplus, #counted)
  end
  redis.call('PEXPIREAT', TIMELINE, text(now + def.retention))
end
if #counted < #flags then
  redis.call('HINCRBY', CONSUMER, 'duplicates', #flags - #counted)
end
local reply = {'ok', text(now), table.concat(flags), window and window.n or 0, text(window and window.first or 0),
  text(window and window.last or 0), fired}
if #fired == 0 then
  return reply
end
