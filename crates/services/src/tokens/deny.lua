-- Denies a token for the rest of its life.
--
-- KEYS[1]  the token
-- ARGV[1]  when its life ends, ms since 1970
-- ARGV[2]  longest rest of a life in ms
-- returns  {'denied', until} | {'expired'} | {'far'}
local now, ends = now_ms(), tonumber(ARGV[1])
if ends <= now then
  return {'expired'}
end
if ends - now > tonumber(ARGV[2]) then
  return {'far'}
end
-- Whoever claims an earlier end does not shorten what is known.
local known = redis.call('PEXPIRETIME', KEYS[1])
if known < ends then
  redis.call('SET', KEYS[1], text(now), 'PXAT', text(ends))
  known = ends
end
return {'denied', known}
