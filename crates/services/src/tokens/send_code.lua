-- Stores a short code in place of any earlier one.
--
-- KEYS[1]  code of a subject (hash of digest, left, payload)
-- ARGV[1]  digest
-- ARGV[2]  attempts
-- ARGV[3]  payload
-- ARGV[4]  lifetime in ms
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'left', ARGV[2], 'payload', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
