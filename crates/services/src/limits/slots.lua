-- Slots of a concurrency limit: held until released, or until their lease ends.
--
-- KEYS[1]  slots  sorted set: id, scored by the ms its lease ends
-- ARGV[1]  'acquire' | 'renew' | 'release' | 'count'
-- ARGV[2]  id of the slot
-- ARGV[3]  most slots at once
-- ARGV[4]  length of the lease in ms
-- ARGV[5]  channel that those who wait for a slot listen to
-- returns  {1 if done, slots held, ms until the first lease ends (0 if none is held), now}; renewing and releasing are
--          done if the slot is still held
local PRUNE_STEP = 64
local SLOTS, ID = KEYS[1], ARGV[2]
local now = now_ms()
local done = false

local ended = redis.call('ZCOUNT', SLOTS, '-inf', text(now))
if ended > 0 and ARGV[1] ~= 'count' then
  redis.call('ZREMRANGEBYRANK', SLOTS, 0, math.min(ended, PRUNE_STEP) - 1)
end
local held = redis.call('ZCOUNT', SLOTS, '(' .. text(now), '+inf')
local own = tonumber(redis.call('ZSCORE', SLOTS, ID) or 0) > now

if ARGV[1] == 'acquire' then
  done = own or held < tonumber(ARGV[3])
elseif ARGV[1] ~= 'count' then
  done = own
end
if done and ARGV[1] == 'release' then
  redis.call('ZREM', SLOTS, ID)
  -- That those who wait cannot be told costs them time and nothing else.
  redis.pcall('PUBLISH', ARGV[5], '')
  held = held - 1
elseif done and ARGV[1] ~= 'count' then
  redis.call('ZADD', SLOTS, text(now + tonumber(ARGV[4])), ID)
  held = own and held or held + 1
  redis.call('PEXPIREAT', SLOTS, redis.call('ZRANGE', SLOTS, -1, -1, 'WITHSCORES')[2])
end
local first = redis.call('ZRANGEBYSCORE', SLOTS, '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {done and 1 or 0, held, first[2] and tonumber(first[2]) - now or 0, now}
