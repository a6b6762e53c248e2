-- A stream as its steps see it: where what lies, how ids compare, and who is woken.
--
-- KEYS[1]  the stream itself, a native one: anybody may read along with XREAD, XRANGE or a group of their own
-- KEYS[2]  meta: hash of sequence, bytes, last, totals and limits; its name is also the channel of those who wait
-- KEYS[3]  groups by when they were last seen, ms, see retain.lua    KEYS[4]  who waits for entries, by until when
local STREAM, META, GROUPS, WAITERS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

-- A global name is looked up each time; these are called often.
local call, sub = redis.call, string.sub

-- Most of those who wait that one step looks through to wake some.
local WAKE_LOOK = 256

-- Most values of an entry that are copied; events of this service have fewer, and an entry of a stranger may have any number.
local VALUES_MAX = 1000

-- Most arguments of one command that are unpacked at once; even, so that pairs stay together.
local CHUNK = 2000

local now = now_ms()

-- Calls a command that changes a key, or a group of a stream, with any number of further arguments.
local function call_many(command, key, args, group)
  for first = 1, #args, CHUNK do
    local last = math.min(first + CHUNK - 1, #args)
    if group then
      call(command, key, group, unpack(args, first, last))
    else
      call(command, key, unpack(args, first, last))
    end
  end
end

-- Calls a command that reads something of a key for each of any number of names, and returns the answers in their order.
local function ask_many(command, key, names)
  if #names == 0 then
    return {}
  end
  if #names <= CHUNK then
    return call(command, key, unpack(names))
  end
  local answers = {}
  for first = 1, #names, CHUNK do
    local some = call(command, key, unpack(names, first, math.min(first + CHUNK - 1, #names)))
    for index = 1, #some do
      answers[#answers + 1] = some[index]
    end
  end
  return answers
end

local ZEROS = '00000000000000000000'

-- Writes an id so that ids compare as texts do; they have up to twenty digits, more than a number of Lua holds.
local function padded(id)
  -- Times have thirteen digits for long.
  local dash = sub(id, 14, 14) == '-' and 14 or string.find(id, '-', 1, true)
  return sub(ZEROS, dash) .. sub(id, 1, dash - 1) .. sub(ZEROS, #id - dash + 1) .. sub(id, dash + 1)
end

local function is_before(left, right)
  return padded(left) < padded(right)
end

-- Returns the value that follows a name in a flat list.
local function field(list, name)
  for index = 1, #list - 1, 2 do
    if list[index] == name then
      return list[index + 1]
    end
  end
end

-- The number of the entry published last, once it was asked for.
local published

-- Returns the number of an entry, of which this is told; nil if a stranger wrote none or one that cannot be.
local function number_in(told)
  local number = told and #told <= 15 and tonumber(told)
  published = published or tonumber(redis.call('HGET', META, 'sequence') or 0)
  -- What is written as we do has digits only.
  if number and number >= 0 and number <= published and (text(number) == told or string.match(told, '^%d+$')) then
    return number
  end
end

local function sequence_in(fields)
  return number_in(field(fields, 'sequence'))
end

local function size_of(fields)
  local size = 0
  for _, value in ipairs(fields) do
    size = size + #value
  end
  return size
end

-- Returns the first values of an entry, as many as are copied.
local function some_of(fields)
  if #fields <= VALUES_MAX then
    return fields
  end
  local some = {}
  for index = 1, VALUES_MAX do
    some[index] = fields[index]
  end
  return some
end

-- What stands among those who wait while somebody follows the stream.
local FOLLOWERS = 'follow'

-- Wakes up to so many of those who wait for a group, or for each of the groups if none is named.
local function wake(group, count)
  if count <= 0 then
    return
  end
  local woken = {}
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', WAITERS, now, '+inf', 'LIMIT', 0, WAKE_LOOK)) do
    -- A name of 32 characters, then the group.
    local of = sub(member, 33)
    if of ~= '' and (not group or of == group) and (woken[of] or 0) < count then
      woken[of] = (woken[of] or 0) + 1
      redis.call('ZREM', WAITERS, member)
      redis.pcall('PUBLISH', META, sub(member, 1, 32))
    end
  end
end

-- Tells those who follow the stream that there is more.
local function tell_followers()
  local until_ms = redis.call('ZSCORE', WAITERS, FOLLOWERS)
  if until_ms and tonumber(until_ms) >= now then
    redis.pcall('PUBLISH', META, FOLLOWERS)
  end
end
