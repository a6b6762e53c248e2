-- Forgets a worker that has ended.
--
-- KEYS[1..2]  see announce.lua
-- ARGV[1]     the worker
-- returns     1
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
