-- Extends a lease that is still the caller's.
--
-- KEYS[1]  lease
-- ARGV[1]  token
-- ARGV[2]  length in ms from now
-- returns  1 extended, 0 lost
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
