-- Stores an entry, unconditionally or as the fill of a lease.
--
-- KEYS[1..5]  the partition
-- KEYS[6]     entry
-- KEYS[7]     lease
-- ARGV[1]     key as the caller names it
-- ARGV[2]     kind: j (JSON), b (bytes), n (known to be absent)
-- ARGV[3]     lifetime in ms, stale time included; 0 for never
-- ARGV[4]     stale time in ms, the end of the lifetime
-- ARGV[5]     how long loading took, in ms
-- ARGV[6]     payload
-- ARGV[7]     token of the lease, '' for an unconditional set
-- ARGV[8..]   tags, escaped, without duplicates
-- returns     1 stored; 0 refused: deleted, invalidated or written since the lease was given
local now = now_ms()
local key, token = ARGV[1], ARGV[7]

if token ~= '' then
  if redis.call('GET', KEYS[7]) ~= token then
    return 0
  end
  local start = tonumber(string.match(token, '^%d+'))
  for index = 7, #ARGV do
    local last = redis.call('ZSCORE', STAMPS, index == 7 and ':' or ARGV[index])
    if last and tonumber(last) >= start then
      redis.call('DEL', KEYS[7])
      return 0
    end
  end
end
redis.call('DEL', KEYS[7])

local epoch = open()
prune(now)

local tags = table.concat(ARGV, ':', 8)
local known = redis.call('HGET', TAGS, key)
if known ~= tags then
  if known then
    forget_tags(key, known)
  end
  redis.call('HSET', TAGS, key, tags)
  for index = 8, #ARGV do
    redis.call('ZADD', MEMBERS, 0, ARGV[index] .. ':' .. key)
  end
  if #ARGV >= 8 then
    redis.call('HINCRBY', TAGS, '', #ARGV - 7)
  end
end

local value = '1;' .. ARGV[2] .. ';' .. epoch .. ';' .. ARGV[4] .. ';' .. ARGV[5] .. '\n' .. ARGV[6]
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
