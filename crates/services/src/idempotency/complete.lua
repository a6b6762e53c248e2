-- Stores the answer of a request.
--
-- KEYS[1]  record
-- ARGV[1]  token
-- ARGV[2]  how long the answer is kept, in ms
-- ARGV[3]  metadata
-- ARGV[4]  body
-- returns  1 stored, 0 the record is not the caller's any more
local record = redis.call('HMGET', KEYS[1], 'token', 'done', 'waited')
if record[1] ~= ARGV[1] then
  return 0
end
-- An answer stays what it was when it was stored first.
if not record[2] then
  redis.call('HSET', KEYS[1], 'done', now_ms(), 'meta', ARGV[3], 'body', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  wake(record[3])
end
return 1
