-- Begins a lease anew that is still the caller's.
--
-- KEYS[1]  record
-- ARGV[1]  token
-- ARGV[2]  length in ms
-- returns  1 renewed, 0 the record is not the caller's any more, or there is an answer
local record = redis.call('HMGET', KEYS[1], 'token', 'done')
if record[1] ~= ARGV[1] or record[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'until', now_ms() + tonumber(ARGV[2]), 'lease', ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
