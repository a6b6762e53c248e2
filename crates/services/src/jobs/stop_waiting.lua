-- Ends waiting for work. Who was woken for a job and did not take it passes the hint on.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2]      name under which the caller waited
-- returns      1
if redis.call('ZREM', WAITERS, ARGV[2]) == 0 then
  wake(work_for(1, true))
end
return 1
