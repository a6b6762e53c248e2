-- Appends messages and keeps the last ones.
--
-- KEYS[1..6]  index and session
-- ARGV[1]     proof
-- ARGV[2]     how many to keep
-- ARGV[3..]   messages, JSON texts
-- returns     how many there are now; nil if there is no such session
if not is_holder() then
  return false
end
redis.call('RPUSH', MESSAGES, unpack(ARGV, 3))
redis.call('LTRIM', MESSAGES, '-' .. ARGV[2], -1)
redis.call('PEXPIREAT', MESSAGES, redis.call('HGET', SESSION, 'e'))
redis.call('HINCRBY', SESSION, 'v', 1)
return redis.call('LLEN', MESSAGES)
