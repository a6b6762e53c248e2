-- Removes a schedule, also in the middle of a fire.
--
-- KEYS[1]  the schedule     KEYS[2]  due     KEYS[3]  names     KEYS[4]  history
-- ARGV[1]  id
-- returns  1, or 0 if there was none
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('UNLINK', KEYS[4])
return redis.call('UNLINK', KEYS[1])
