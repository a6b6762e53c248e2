-- Frees a key without an answer.
--
-- KEYS[1]  record
-- ARGV[1]  token
-- returns  1 freed, 0 the record is not the caller's any more, or there is an answer
local record = redis.call('HMGET', KEYS[1], 'token', 'done', 'waited')
if record[1] ~= ARGV[1] or record[2] then
  return 0
end
redis.call('DEL', KEYS[1])
wake(record[3])
return 1
