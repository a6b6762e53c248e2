-- Ends waiting for entries. Who was woken and did not look passes the hint on.
--
-- KEYS[1..4]  see stream.lua
-- ARGV[1..2]  the group, and the name under which the caller waited
-- returns     1
if redis.call('ZREM', WAITERS, ARGV[2] .. ARGV[1]) == 0 then
  wake(ARGV[1], 1)
end
return 1
