-- Enqueues a job once for each number that grows, whatever has become of the job since.
--
-- KEYS[1..21]  see queue.lua
-- KEYS[22]     the largest number that was enqueued
-- ARGV[1]      see moves.lua
-- ARGV[2..3]   most jobs that are not ended, and most bytes of their records
-- ARGV[4]      number
-- ARGV[5]      how long the number is remembered, ms
-- ARGV[6...]   the job, see enqueue.lua
-- returns      as enqueue.lua, or {'done'}
local done = redis.call('GET', KEYS[KEYS_OF_ALL + 1])
if done and tonumber(done) >= tonumber(ARGV[4]) then
  return {'done'}
end
local reply = admit(ARGV, 6, ARGV[2], ARGV[3], false)
if reply[1] == 'ok' then
  redis.call('SET', KEYS[KEYS_OF_ALL + 1], ARGV[4], 'PX', ARGV[5])
end
wake(arrived)
return reply
