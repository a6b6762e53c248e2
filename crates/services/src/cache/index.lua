-- The index of a partition, for the steps that change it.

-- How long an index without entries is kept.
local EMPTY_KEPT_MS = 60000

-- Begins a new epoch with an empty index.
local function begin_epoch()
  local time = redis.call('TIME')
  local epoch = time[1] .. '.' .. time[2]
  redis.call('UNLINK', EXPIRY, TAGS, MEMBERS)
  redis.call('SET', EPOCH, epoch, 'PX', EMPTY_KEPT_MS)
  redis.call('HSET', TAGS, '', 0)
  redis.call('PEXPIRE', TAGS, EMPTY_KEPT_MS)
  return {id = epoch, count = 0, pending = {}}
end

local function write_epoch(epoch)
  local stored = epoch.id .. ':' .. text(epoch.count)
  for _, out in ipairs(epoch.pending) do
    stored = stored .. ':' .. out.tag .. ':' .. text(out.number) .. ':' .. text(out.displaced)
  end
  redis.call('SET', EPOCH, stored, 'KEEPTTL')
end

-- Returns the epoch, how many entries and members the index has, and a key's tags if it is in there. If the store
-- evicted part of the index, entries could no longer be found by tag, so all of them cease to exist by a new epoch.
local function open(key)
  local epoch = read_epoch()
  local fields = redis.call('HLEN', TAGS)
  if epoch and fields > 0 and redis.call('ZCARD', EXPIRY) == fields - 1 then
    local known = redis.call('HMGET', TAGS, '', key or '')
    local members = redis.call('ZCARD', MEMBERS)
    if members == tonumber(known[1] or -1) then
      return epoch, fields - 1, members, key and known[2]
    end
  end
  return begin_epoch(), 0, 0, false
end

-- Ends a lease, and wakes those who wait for it. That they cannot be told costs them time and nothing else.
local function end_lease(lease)
  if redis.call('DEL', lease) == 1 then
    redis.pcall('PUBLISH', lease, '')
  end
end

-- Takes an entry's tags out of the index, and returns how many they were.
local function forget_tags(key, tags)
  local removed = 0
  for tag in string.gmatch(tags, '[^:]+') do
    removed = removed + redis.call('ZREM', MEMBERS, tag .. ':' .. key)
  end
  if removed > 0 then
    redis.call('HINCRBY', TAGS, '', -removed)
  end
  return removed
end

-- Removes an entry from the index.
local function forget(key)
  local tags = redis.call('HGET', TAGS, key)
  if tags then
    forget_tags(key, tags)
    redis.call('HDEL', TAGS, key)
    redis.call('ZREM', EXPIRY, key)
  end
end

-- Gives an index without a lifetime that of its longest entry, once all that never expire have gone. Returns when it ends; nil while
-- it does not.
local function bound()
  local last = redis.call('ZRANGE', EXPIRY, '-1', '-1', 'WITHSCORES')[2]
  if not last or last == 'inf' then
    return nil
  end
  for index = 1, 4 do
    redis.call('PEXPIREAT', KEYS[index], last)
  end
  return tonumber(last)
end

-- Lets an index without entries expire soon, and one that is not for ever any more when its entries do.
local function settle()
  if redis.call('HLEN', TAGS) == 1 then
    redis.call('PEXPIRE', EPOCH, EMPTY_KEPT_MS)
    redis.call('PEXPIRE', TAGS, EMPTY_KEPT_MS)
  elseif redis.call('PTTL', EPOCH) == -1 then
    bound()
  end
end

-- Removes a few entries from the index that have expired.
local function prune(now)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', '(' .. text(now), 'LIMIT', '0', PRUNE_STEP)) do
    forget(key)
  end
end

-- Makes the index live as long as its longest entry; expire_at is 0 for never. Of an index that is_new in part, so much
-- has no lifetime yet.
local function cover(expire_at, now, is_new)
  local horizon = redis.call('PEXPIRETIME', EPOCH)
  if horizon == -1 then
    horizon = bound()
    if not horizon then
      return
    end
  end
  if expire_at == 0 then
    for index = 1, 4 do
      redis.call('PERSIST', KEYS[index])
    end
    return
  end
  -- A margin, so that a stream of equal lifetimes does not extend the index each time.
  local target = expire_at > horizon and expire_at + math.floor((expire_at - now) / 8) or horizon
  if target ~= horizon or is_new then
    for index = 1, 4 do
      redis.call('PEXPIREAT', KEYS[index], text(target))
    end
  end
end
