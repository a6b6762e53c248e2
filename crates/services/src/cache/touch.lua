-- Gives an entry a new lifetime, from now.
--
-- KEYS[1..5]  the partition
-- KEYS[6]     entry
-- ARGV[1]     key as the caller names it
-- ARGV[2]     lifetime in ms, to which the entry's own stale and fail-safe time are added; 0 for never;
--             'slide' for the lifetime that the entry says each read gives it anew
-- returns     1 if there is an entry, and one that slides if it shall, else 0
local now = now_ms()
if not is_live(ARGV[1], KEYS[6], open()) then
  return 0
end
local header = redis.call('GETRANGE', KEYS[6], 0, 255)
local stale, fail_safe, slide = string.match(header, '^1;%a+;[^;]*;(%d+);%d+;(%d+);(%d+)')
local ttl = tonumber(ARGV[2])
if ARGV[2] == 'slide' then
  ttl = tonumber(slide or 0)
  if ttl == 0 then
    return 0
  end
elseif ttl > 0 then
  ttl = ttl + tonumber(stale or 0) + tonumber(fail_safe or 0)
end
if ttl == 0 then
  redis.call('PERSIST', KEYS[6])
  redis.call('ZADD', EXPIRY, '+inf', ARGV[1])
  cover(0, now, false)
else
  redis.call('PEXPIREAT', KEYS[6], text(now + ttl))
  redis.call('ZADD', EXPIRY, text(now + ttl), ARGV[1])
  cover(now + ttl, now, false)
end
return 1
