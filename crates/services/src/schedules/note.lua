-- Notes that a job was enqueued because somebody asked for it.
--
-- KEYS[1]  the schedule     KEYS[2]  history
-- ARGV[1]  uid
-- ARGV[2]  how many entries of the history are kept
-- ARGV[3]  entry
-- ARGV[4..5]  queue and id of the job
-- returns  1, or 0 if the schedule is gone
if redis.call('HGET', KEYS[1], 'uid') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'last_queue', ARGV[4], 'last_job', ARGV[5])
redis.call('HINCRBY', KEYS[1], 'rev', 1)
remember(KEYS[2], ARGV[3], ARGV[2])
return 1
