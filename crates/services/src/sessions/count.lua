-- Counts sessions. What has expired is taken out of the index first, a part of it in each call.
--
-- KEYS[1..3]  index
-- ARGV[1]     'u' of a user, 'w' of a workspace
-- ARGV[2]     whose, escaped
-- returns     {how many expired ones are still in the index, count}: exact if that is 0
local PRUNE_STEP = 100
local now = now_ms()
prune(now, PRUNE_STEP)
local set = ARGV[1] == 'u' and USERS or WORKSPACES
return {
  redis.call('ZCOUNT', EXPIRY, '-inf', text(now)),
  redis.call('ZLEXCOUNT', set, '[' .. ARGV[2] .. ':', '(' .. ARGV[2] .. ';'),
}
