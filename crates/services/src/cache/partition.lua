-- Shared by the steps of the cache: one partition of a namespace and its index.
--
-- KEYS[1]  epoch    string: entries of another epoch do not exist. While tags are being invalidated, what they are:
--                   'epoch:count' and for each ':tag:number:displaced'. An entry that carries the tag and was stored
--                   with a count below the number does not exist; displaced ones were overwritten since
-- KEYS[2]  expiry   sorted set: entry's key, scored by the millisecond it expires at (+inf for never)
-- KEYS[3]  tags     hash: entry's key -> its tags joined by ':'; the field '' counts the elements of members
-- KEYS[4]  members  sorted set, all scores 0: 'tag:key', so that a tag's entries are a range
-- KEYS[5]  stamps   sorted set: tag -> stamp of its last invalidation; ':' stands for the whole partition
local EPOCH, EXPIRY, TAGS, MEMBERS, STAMPS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

-- How long stamps are kept: no loader may run longer (MAX_LOAD_MS in settings.rs).
local STAMP_KEPT_MS = 600000
-- How long an index without entries is kept.
local EMPTY_KEPT_MS = 60000
-- How many expired entries, or outdated stamps, a step removes from the index besides its own work.
local PRUNE_STEP = 8

-- How many tags may be on their way out at once.
local PENDING_MAX = 64

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

-- Reads the epoch; nil if there is none.
local function read_epoch()
  local stored = redis.call('GET', EPOCH)
  if not stored then
    return nil
  end
  local id, count, rest = string.match(stored, '^([^:]*):(%d+)(.*)$')
  local epoch = {id = id or stored, count = tonumber(count or 0), pending = {}}
  for tag, number, displaced in string.gmatch(rest or '', ':([^:]*):(%d+):(%d+)') do
    table.insert(epoch.pending, {tag = tag, number = tonumber(number), displaced = tonumber(displaced)})
  end
  return epoch
end

local function write_epoch(epoch)
  local stored = epoch.id .. ':' .. text(epoch.count)
  for _, out in ipairs(epoch.pending) do
    stored = stored .. ':' .. out.tag .. ':' .. text(out.number) .. ':' .. text(out.displaced)
  end
  redis.call('SET', EPOCH, stored, 'KEEPTTL')
end

-- Returns the epoch. If the store evicted part of the index, entries could no longer be found by tag, so all of them
-- cease to exist by a new epoch.
local function open()
  local epoch = read_epoch()
  local fields = redis.call('HLEN', TAGS)
  if epoch and fields > 0
    and redis.call('ZCARD', EXPIRY) == fields - 1
    and redis.call('ZCARD', MEMBERS) == tonumber(redis.call('HGET', TAGS, '') or -1) then
    return epoch
  end
  return begin_epoch()
end

-- Tells whether an entry is of the epoch, on its way out or not.
local function is_of(entry, epoch)
  return epoch and string.match(redis.call('GETRANGE', entry, 0, 63), '^1;%a+;([^;]*);') == epoch.id
end

-- Returns the count an entry was stored with.
local function stored_with(entry)
  local header = redis.call('GETRANGE', entry, 0, 255)
  return tonumber(string.match(header, '^1;%a+;[^;]*;%d+;%d+;%d+;%d+;(%d+)') or 0)
end

-- Returns the tag that is being invalidated and takes an entry with it; nil if none does.
local function going_with(key, entry, epoch)
  if #epoch.pending == 0 then
    return nil
  end
  local tags, count = ':' .. (redis.call('HGET', TAGS, key) or '') .. ':', stored_with(entry)
  for _, out in ipairs(epoch.pending) do
    if count < out.number and string.find(tags, ':' .. out.tag .. ':', 1, true) then
      return out
    end
  end
  return nil
end

local function is_live(key, entry, epoch)
  return is_of(entry, epoch) and not going_with(key, entry, epoch)
end

-- Ends a lease, and wakes those who wait for it. That they cannot be told costs them time and nothing else.
local function end_lease(lease)
  if redis.call('DEL', lease) == 1 then
    redis.pcall('PUBLISH', lease, '')
  end
end

local function forget_tags(key, tags)
  local removed = 0
  for tag in string.gmatch(tags, '[^:]+') do
    removed = removed + redis.call('ZREM', MEMBERS, tag .. ':' .. key)
  end
  if removed > 0 then
    redis.call('HINCRBY', TAGS, '', -removed)
  end
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

-- Lets an index without entries expire soon.
local function settle()
  if redis.call('HLEN', TAGS) == 1 then
    redis.call('PEXPIRE', EPOCH, EMPTY_KEPT_MS)
    redis.call('PEXPIRE', TAGS, EMPTY_KEPT_MS)
  end
end

-- Removes a few entries from the index that have expired.
local function prune(now)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', '(' .. text(now), 'LIMIT', 0, PRUNE_STEP)) do
    forget(key)
  end
end

-- Makes the index live as long as its longest entry; expire_at is 0 for never.
local function cover(expire_at, now)
  local horizon = redis.call('PEXPIRETIME', EPOCH)
  if expire_at == 0 then
    for index = 1, 4 do
      redis.call('PERSIST', KEYS[index])
    end
  elseif horizon ~= -1 then
    -- A margin, so that a stream of equal lifetimes does not extend the index each time.
    local target = expire_at > horizon and expire_at + math.floor((expire_at - now) / 8) or horizon
    if target ~= horizon or redis.call('PTTL', EXPIRY) == -1 or redis.call('PTTL', MEMBERS) == -1 then
      for index = 1, 4 do
        redis.call('PEXPIREAT', KEYS[index], text(target))
      end
    end
  end
end

-- Returns a stamp above all stamps given so far, whatever the clock does.
local function next_stamp(now)
  local last = redis.call('ZRANGE', STAMPS, -1, -1, 'WITHSCORES')[2]
  return math.max(now, last and tonumber(last) + 1 or 0)
end

-- Notes an invalidation: fills that began before it and carry the tag will be refused.
local function stamp(tag, now)
  redis.call('ZADD', STAMPS, text(next_stamp(now)), tag)
  local outdated = redis.call('ZCOUNT', STAMPS, '-inf', text(now - STAMP_KEPT_MS))
  if outdated > 0 then
    redis.call('ZREMRANGEBYRANK', STAMPS, 0, math.min(outdated, PRUNE_STEP) - 1)
  end
  redis.call('PEXPIRE', STAMPS, STAMP_KEPT_MS)
end
