-- Compares a short code, and consumes the code or an attempt.
--
-- KEYS[1]  code of a subject (hash of digest, left, payload)
-- ARGV[1]  digest of what is presented
-- returns  {'right', payload} | {'wrong', attempts left} | {'exhausted'} | {'unknown'}
local code = redis.call('HMGET', KEYS[1], 'digest', 'left', 'payload')
if not code[1] then
  return {'unknown'}
end
local left = tonumber(code[2])
if left <= 0 then
  return {'exhausted'}
end
if code[1] == ARGV[1] then
  redis.call('DEL', KEYS[1])
  return {'right', code[3]}
end
redis.call('HSET', KEYS[1], 'left', left - 1)
if left == 1 then
  return {'exhausted'}
end
return {'wrong', left - 1}
