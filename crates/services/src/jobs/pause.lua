-- Stops or resumes leasing.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2]      'pause' or 'resume'
-- returns      1 if that was a change
if ARGV[2] == 'pause' then
  return redis.call('HSETNX', META, 'paused', now)
end
local resumed = redis.call('HDEL', META, 'paused')
wake(WAKE)
return resumed
