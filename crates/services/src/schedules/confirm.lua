-- Ends a claim: what it was about has been done, or never can be.
--
-- KEYS[1]  the schedule     KEYS[2]  due     KEYS[3]  history
-- ARGV[1]  id
-- ARGV[2]  uid
-- ARGV[3]  number of the claim
-- ARGV[4]  how many entries of the history are kept
-- ARGV[5]  entry
-- ARGV[6..7]  queue and id of the job that is there now, '' and '' if none is
-- ARGV[8]  tick
-- returns  1, or 0 if somebody else has ended it
local held = redis.call('HMGET', KEYS[1], 'uid', 'claim')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then
  return 0
end
redis.call('HDEL', KEYS[1], 'claim', 'claim_tick', 'claim_ms', 'claim_until', 'claim_cancels', 'pin', 'error')
redis.call('HSET', KEYS[1], 'last_tick', ARGV[8], 'last_ms', text(now_ms()))
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[1], 'last_queue', ARGV[6], 'last_job', ARGV[7])
end
redis.call('HINCRBY', KEYS[1], 'rev', 1)
remember(KEYS[3], ARGV[5], ARGV[4])
index_schedule(KEYS[1], KEYS[2], ARGV[1], '')
return 1
