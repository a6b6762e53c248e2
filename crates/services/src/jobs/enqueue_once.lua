-- Enqueues a job unless it has been enqueued so before, also if it has ended and is forgotten since.
--
-- KEYS[1..15]  see queue.lua
-- KEYS[16]     mark of the jobs that were enqueued so, one for each id
-- ARGV[1]      see moves.lua
-- ARGV[2..3]   most jobs that are not ended, and most bytes of their records
-- ARGV[4]      how long that is remembered, in ms
-- ARGV[5...7]  the job: see enqueue.lua
-- returns      {'ok', n enqueued or - it was before} | {'full', how many there are, their bytes}
if redis.call('EXISTS', KEYS[16]) == 1 then
  return {'ok', '-'}
end
local reply = admit(5, ARGV[2], ARGV[3], false)
if reply[1] == 'ok' then
  redis.call('SET', KEYS[16], reply[2], 'PX', ARGV[4])
  wake(arrived)
end
return reply
