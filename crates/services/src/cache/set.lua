-- Stores an entry, unconditionally or as the fill of a lease.
--
-- KEYS[1..5]  the partition
-- KEYS[6]     entry
-- KEYS[7]     lease
-- ARGV[1]     key as the caller names it
-- ARGV[2]     kind: j (JSON), b (bytes), jz and bz (the same compressed), n (known to be absent)
-- ARGV[3]     lifetime in ms, stale and fail-safe time included; 0 for never
-- ARGV[4]     what the entry says of its lifetime: stale time, loading time, fail-safe time, sliding lifetime, joined by ';'
-- ARGV[5]     payload
-- ARGV[6]     token of the lease, '' for an unconditional set
-- ARGV[7]     newest stamp of when the lease was given, 0 if there was none
-- ARGV[8..]   tags, escaped, without duplicates
-- returns     1 stored; 0 refused: deleted, invalidated or written since the lease was given
local now = now_ms()
local key, token = ARGV[1], ARGV[6]

if token ~= '' then
  if redis.call('GET', KEYS[7]) ~= token then
    return 0
  end
  local newest = tonumber(ARGV[7])
  for _, last in ipairs(redis.call('ZMSCORE', STAMPS, ':', unpack(ARGV, 8))) do
    if last and tonumber(last) > newest then
      end_lease(KEYS[7])
      return 0
    end
  end
end
end_lease(KEYS[7])

prune(now)
local epoch, entries, members, known = open(key)

if #epoch.pending > 0 and is_of(KEYS[6], epoch) then
  local out = going_with(key, KEYS[6], epoch)
  if out then
    -- Whoever invalidates the tag counts it all the same.
    out.displaced = out.displaced + 1
    write_epoch(epoch)
  end
end

local tags = table.concat(ARGV, ':', 8)
local is_new = entries == 0
if known ~= tags then
  if known then
    members = members - forget_tags(key, known)
  end
  redis.call('HSET', TAGS, key, tags)
  for index = 8, #ARGV do
    redis.call('ZADD', MEMBERS, 0, ARGV[index] .. ':' .. key)
  end
  if #ARGV >= 8 then
    redis.call('HINCRBY', TAGS, '', #ARGV - 7)
    is_new = is_new or members == 0
  end
end

local value = '1;' .. ARGV[2] .. ';' .. epoch.id .. ';' .. ARGV[4] .. ';' .. text(epoch.count) .. ';' .. tags .. '\n' .. ARGV[5]
local ttl = tonumber(ARGV[3])
if ttl == 0 then
  redis.call('SET', KEYS[6], value)
  redis.call('ZADD', EXPIRY, '+inf', key)
  cover(0, now, is_new)
else
  local expire_at = text(now + ttl)
  redis.call('SET', KEYS[6], value, 'PXAT', expire_at)
  redis.call('ZADD', EXPIRY, expire_at, key)
  cover(now + ttl, now, is_new)
end
return 1
