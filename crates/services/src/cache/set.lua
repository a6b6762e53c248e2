-- Stores an entry, unconditionally or as the fill of a lease.
--
-- KEYS[1..5]  the partition
-- KEYS[6]     entry
-- KEYS[7]     lease
-- ARGV[1]     key as the caller names it
-- ARGV[2]     kind: j (JSON), b (bytes), jz and bz (the same compressed), n (known to be absent)
-- ARGV[3]     lifetime in ms, stale and fail-safe time included; 0 for never
-- ARGV[4]     stale time in ms, the end of the lifetime but for the fail-safe time
-- ARGV[5]     how long loading took, in ms
-- ARGV[6]     fail-safe time in ms, the end of the lifetime
-- ARGV[7]     lifetime in ms that each read gives anew, 0 if none does
-- ARGV[8]     payload
-- ARGV[9]     token of the lease, '' for an unconditional set
-- ARGV[10..]  tags, escaped, without duplicates
-- returns     1 stored; 0 refused: deleted, invalidated or written since the lease was given
local now = now_ms()
local key, token = ARGV[1], ARGV[9]

if token ~= '' then
  if redis.call('GET', KEYS[7]) ~= token then
    return 0
  end
  local start = tonumber(string.match(token, '^%d+'))
  for index = 9, #ARGV do
    local last = redis.call('ZSCORE', STAMPS, index == 9 and ':' or ARGV[index])
    if last and tonumber(last) >= start then
      end_lease(KEYS[7])
      return 0
    end
  end
end
end_lease(KEYS[7])

local epoch = open()
prune(now)

if is_of(KEYS[6], epoch) then
  local out = going_with(key, KEYS[6], epoch)
  if out then
    -- Whoever invalidates the tag counts it all the same.
    out.displaced = out.displaced + 1
    write_epoch(epoch)
  end
end

local tags = table.concat(ARGV, ':', 10)
local known = redis.call('HGET', TAGS, key)
if known ~= tags then
  if known then
    forget_tags(key, known)
  end
  redis.call('HSET', TAGS, key, tags)
  for index = 10, #ARGV do
    redis.call('ZADD', MEMBERS, 0, ARGV[index] .. ':' .. key)
  end
  if #ARGV >= 10 then
    redis.call('HINCRBY', TAGS, '', #ARGV - 9)
  end
end

local header = '1;' .. ARGV[2] .. ';' .. epoch.id .. ';' .. table.concat(ARGV, ';', 4, 7)
local value = header .. ';' .. text(epoch.count) .. ';' .. tags .. '\n' .. ARGV[8]
local ttl = tonumber(ARGV[3])
if ttl == 0 then
  redis.call('SET', KEYS[6], value)
  redis.call('ZADD', EXPIRY, '+inf', key)
  cover(0, now)
else
  redis.call('SET', KEYS[6], value, 'PXAT', text(now + ttl))
  redis.call('ZADD', EXPIRY, text(now + ttl), key)
  cover(now + ttl, now)
end
return 1
