-- Exchanges a refresh token for its successor, or revokes its family because the token was exchanged before.
--
-- KEYS[1]  family (hash)
-- KEYS[2]  when the user was revoked last
-- ARGV[1]  digest of the token presented
-- ARGV[2]  salt of a successor
-- ARGV[3]  digest of that successor
-- ARGV[4]  how long a rotation may be asked for again, in ms
-- ARGV[5]  how long a token is good without being used, in ms
-- returns  {'rotated', salt of the successor, generation, when it expires, user, payload}
--          | {'reused', user} | {'revoked', reason} | {'unknown'}
local family = redis.call('HMGET', KEYS[1], 'current', 'previous', 'salt', 'rotated', 'seen', 'ends', 'user',
  'payload', 'generation', 'revoked')
local current, previous, salt, user, payload = family[1], family[2], family[3], family[7], family[8]
local seen, ends, generation = family[5], family[6], tonumber(family[9])
if not current then
  return {'unknown'}
end
if family[10] then
  return {'revoked', family[10]}
end

-- Remembered until the family would have ended.
local function revoke(reason)
  redis.call('HSET', KEYS[1], 'revoked', reason)
  redis.call('PEXPIREAT', KEYS[1], ends)
end

local revoked_at = redis.call('GET', KEYS[2])
if revoked_at and revoked_at ~= seen then
  revoke('user')
  return {'revoked', 'user'}
end

local now = now_ms()
if ARGV[1] == current then
  local expires = math.min(now + tonumber(ARGV[5]), tonumber(ends))
  redis.call('HSET', KEYS[1], 'current', ARGV[3], 'previous', current, 'salt', ARGV[2], 'rotated', now,
    'generation', generation + 1)
  redis.call('PEXPIREAT', KEYS[1], expires)
  return {'rotated', ARGV[2], generation + 1, expires, user, payload}
end
-- The same call, sent again by who did not hear the answer, is known by its salt.
if ARGV[1] == previous and (salt == ARGV[2] or now - tonumber(family[4]) < tonumber(ARGV[4])) then
  return {'rotated', salt, generation, redis.call('PEXPIRETIME', KEYS[1]), user, payload}
end
revoke('reuse')
return {'reused', user}
