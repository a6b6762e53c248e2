-- Gives an entry a new lifetime, from now.
--
-- KEYS[1..5]  the partition
-- KEYS[6]     entry
-- ARGV[1]     key as the caller names it
-- ARGV[2]     lifetime in ms, 0 for never
-- returns     1 if there is an entry, else 0
local now = now_ms()
if not is_live(KEYS[6], open()) then
  return 0
end
local ttl = tonumber(ARGV[2])
if ttl == 0 then
  redis.call('PERSIST', KEYS[6])
  redis.call('ZADD', EXPIRY, '+inf', ARGV[1])
  cover(0, now)
else
  redis.call('PEXPIREAT', KEYS[6], text(now + ttl))
  redis.call('ZADD', EXPIRY, text(now + ttl), ARGV[1])
  cover(now + ttl, now)
end
return 1
