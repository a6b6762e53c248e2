-- Fires if the open window is over, by time or because the threshold of events was lowered.
--
-- KEYS[1..25]  the consumer
-- ARGV[3]      most triggers that wait
-- ARGV[4]      see publish.lua
-- returns      {} | {id, record} of the trigger
local def, window, now = definition(), open_window(), now_ms()
if not def or not window then
  redis.call('ZREM', DUE, NAME)
  return {}
end
local crowded = def.max_events > 0 and window.n >= def.max_events
local over = def.max_time > 0 and now >= window.first + def.max_time
if not crowded and not over then
  index_window(def, window)
  return {}
end
if waiting() >= tonumber(ARGV[3]) then
  -- Nothing is lost: the window stays, and somebody looks again in a second.
  redis.call('ZADD', DUE, text(now + 1000), NAME)
  return {}
end
if crowded then
  fire(def, window, 'EVENT_THRESHOLD', window.last, now)
else
  fire(def, window, 'TIME_THRESHOLD', window.first + def.max_time, now)
end
redis.call('DEL', WINDOW)
redis.call('ZREM', DUE, NAME)
local reply = fired
