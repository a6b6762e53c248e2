-- Moves a session's end without touching its data.
--
-- KEYS[1..6]  index and session
-- ARGV[1]     proof
-- ARGV[2]     ref
-- ARGV[3]     'touch' by the session's own idle time, never to an earlier end; 'extend' to a lifetime from now
-- ARGV[4]     touch: at most once in so many ms; extend: lifetime in ms
-- returns     {1 moved or 0 not yet due, end}; nil if there is no such session
if not is_holder() then
  return false
end
local now = now_ms()
local held = redis.call('HMGET', SESSION, 'i', 'e', 't')
local target = now + tonumber(ARGV[4])
if ARGV[3] == 'touch' then
  local since = now - tonumber(held[3])
  if since >= 0 and since < tonumber(ARGV[4]) then
    return {0, tonumber(held[2])}
  end
  target = math.max(tonumber(held[2]), now + tonumber(held[1]))
end
redis.call('HSET', SESSION, 't', now)
return {1, prolong(ARGV[2], target)}
