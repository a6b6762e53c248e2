-- One partition of a namespace: its keys, for all steps of the cache, and which entries exist.
--
-- KEYS[1]  epoch    string: entries of another epoch do not exist. While tags are being invalidated, what they are:
--                   'epoch:count' and for each ':tag:number:displaced'. An entry that carries the tag and was stored
--                   with a count below the number does not exist; displaced ones were overwritten since
-- KEYS[2]  expiry   sorted set: entry's key, scored by the millisecond it expires at (+inf for never)
-- KEYS[3]  tags     hash: entry's key -> its tags joined by ':'; the field '' counts the elements of members
-- KEYS[4]  members  sorted set, all scores 0: 'tag:key', so that a tag's entries are a range
-- KEYS[5]  stamps   sorted set: tag -> stamp of its last invalidation; ':' stands for the whole partition
local EPOCH, EXPIRY, TAGS, MEMBERS, STAMPS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

-- How many expired entries, or outdated stamps, a step removes from the index besides its own work. As text: numbers
-- cost several times as much to pass to a command.
local PRUNE_STEP = '8'
-- How many tags may be on their way out at once.
local PENDING_MAX = 64

-- Reads the epoch; nil if there is none.
local function read_epoch()
  local stored = redis.call('GET', EPOCH)
  if not stored then
    return nil
  end
  if not string.find(stored, ':', 1, true) then
    return {id = stored, count = 0, pending = {}}
  end
  local id, count, rest = string.match(stored, '^([^:]*):(%d+)(.*)$')
  local epoch = {id = id or stored, count = tonumber(count or 0), pending = {}}
  for tag, number, displaced in string.gmatch(rest or '', ':([^:]*):(%d+):(%d+)') do
    table.insert(epoch.pending, {tag = tag, number = tonumber(number), displaced = tonumber(displaced)})
  end
  return epoch
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
