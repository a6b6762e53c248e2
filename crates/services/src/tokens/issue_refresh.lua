-- Begins a family of refresh tokens.
--
-- KEYS[1]  family (hash)
-- KEYS[2]  when the user was revoked last
-- ARGV[1]  digest of the token
-- ARGV[2]  user
-- ARGV[3]  payload
-- ARGV[4]  how long a token is good without being used, in ms
-- ARGV[5]  how long the family lives at most, in ms
-- returns  when the token expires, ms since 1970
local now = now_ms()
local ends = now + tonumber(ARGV[5])
local expires = math.min(now + tonumber(ARGV[4]), ends)
-- The family remembers which revocation of its user it came after; any other that is found later came after it.
local seen = redis.call('GET', KEYS[2]) or ''
redis.call('HSET', KEYS[1], 'current', ARGV[1], 'seen', seen, 'ends', ends, 'user', ARGV[2], 'payload', ARGV[3],
  'generation', 0)
redis.call('PEXPIREAT', KEYS[1], expires)
return expires
