-- Revokes a family of refresh tokens.
--
-- KEYS[1]  family (hash)
-- KEYS[2]  when the user was revoked last
-- returns  1 revoked now, 0 there is none or it was revoked before
local family = redis.call('HMGET', KEYS[1], 'ends', 'seen', 'revoked')
if not family[1] or family[3] then
  return 0
end
local revoked_at = redis.call('GET', KEYS[2])
local of_the_user = revoked_at and revoked_at ~= family[2]
redis.call('HSET', KEYS[1], 'revoked', of_the_user and 'user' or 'family')
redis.call('PEXPIREAT', KEYS[1], family[1])
return of_the_user and 0 or 1
