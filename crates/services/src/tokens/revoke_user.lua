-- Revokes what a user has been issued until now.
--
-- KEYS[1]  when the user was revoked last, ms since 1970
-- ARGV[1]  how far clocks that stamp tokens may be ahead, in ms
-- ARGV[2]  longest life of a token in ms
-- returns  when, ms since 1970
local now = now_ms()
-- A clock that went back does not bring back what was revoked, and no two revocations have the same time.
local at = math.max(now + tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or 0) + 1)
redis.call('SET', KEYS[1], text(at), 'PXAT', text(at + tonumber(ARGV[2])))
return at
