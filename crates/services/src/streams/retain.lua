-- What a stream keeps: limits, and what may be dropped to stay within them.
--
-- Steps are told, as one argument, for streams without limits of their own: most entries, most bytes, greatest age in ms or 0, t (trim) or
-- r (refuse), how long in ms a group may be silent before it holds nothing back; then most entries and bytes whatever the policy; with commas.
--
-- An entry is dropped only if every live group has read it and none of them has it pending. A group is live while it was seen within that time;
-- one that others made, with XGROUP, while one of its consumers was, or since this service noticed it.

-- Most entries that a step drops beside as many as it adds.
local DROP = 100
local PAGE = 100

local function rules(told)
  local defaults = {string.match(told, '^(%d+),(%d+),(%d+),(%a),(%d+),(%d+),(%d+)$')}
  local own = redis.call('HMGET', META, 'length_max', 'bytes_max', 'age_ms', 'full', 'idle_ms')
  local value = function(index)
    return tonumber(own[index] or defaults[index])
  end
  return {
    length_max = value(1), bytes_max = value(2), age_ms = value(3), full = own[4] or defaults[4], idle_ms = value(5),
    length_cap = tonumber(defaults[6]), bytes_cap = tonumber(defaults[7]),
  }
end

-- Most groups that are remembered; beyond, those seen longest ago are forgotten, and count as seen when they are met again.
local GROUPS_KEPT = 1024

-- Returns when a group was last seen, and whether it may read more: o and its name for those of this service, d for those of them that have an end and
-- have read up to it, f for those that others made.
local function seen(name)
  for _, mark in ipairs({'o', 'd'}) do
    local at = redis.call('ZSCORE', GROUPS, mark .. name)
    if at then
      return tonumber(at), mark == 'o'
    end
  end
  local at = tonumber(redis.call('ZSCORE', GROUPS, 'f' .. name) or 0)
  if at == 0 then
    at = now
    redis.call('ZADD', GROUPS, now, 'f' .. name)
    if redis.call('ZCARD', GROUPS) > GROUPS_KEPT then
      redis.call('ZREMRANGEBYRANK', GROUPS, 0, 9)
    end
  end
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', STREAM, name)) do
    at = math.max(at, now - tonumber(field(consumer, 'idle')))
  end
  return at, true
end

-- Returns the greatest id that all live groups have read, and the least that one of them has pending, both written to compare; nil for none. A live group
-- of this service that somebody has destroyed will be restored, and holds everything until then.
local function holds(idle_ms)
  local read, pending
  local there = {}
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', STREAM)) do
    local name = field(group, 'name')
    there[name] = true
    local at, goes_on = seen(name)
    if at + idle_ms > now then
      local last = padded(field(group, 'last-delivered-id'))
      read = goes_on and (not read or last < read) and last or read
      if field(group, 'pending') > 0 then
        local first = padded(redis.call('XPENDING', STREAM, name)[2])
        pending = (not pending or first < pending) and first or pending
      end
    end
  end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', GROUPS, now - idle_ms, '+inf')) do
    if string.sub(member, 1, 1) ~= 'f' and not there[string.sub(member, 2)] then
      read = ''
    end
  end
  return read, pending
end

-- Drops what the limits want dropped and nobody needs, oldest first, so that so many entries and bytes find room. Returns how many entries and bytes
-- there are then, and how many were dropped.
local function trim(limits, adding, adding_bytes)
  local length = redis.call('XLEN', STREAM)
  local bytes = tonumber(redis.call('HGET', META, 'bytes') or 0)
  local dropped, most, goes_on, read, pending = 0, adding + DROP, length > 0, nil, nil
  local is_excess = function(id)
    return length - dropped + adding > limits.length_max or bytes + adding_bytes > limits.bytes_max
      or (limits.age_ms > 0 and tonumber(string.match(id, '^%d+')) < now - limits.age_ms)
  end
  -- As many as are too many, or the first, to see whether it is too old or too much.
  local first, is_first, size = '-', true, math.max(1, length + adding - limits.length_max)
  goes_on = goes_on and (size > 1 or limits.age_ms > 0 or bytes + adding_bytes > limits.bytes_max or length + adding > limits.length_max)
  while goes_on and dropped < most do
    size = math.min(size, PAGE, most - dropped)
    local page = redis.call('XRANGE', STREAM, first, '+', 'COUNT', size)
    goes_on = #page == size
    size = 2 * size
    for _, entry in ipairs(page) do
      if not is_excess(entry[1]) then
        goes_on = false
        break
      end
      if is_first then
        is_first = false
        read, pending = holds(limits.idle_ms)
      end
      local id = padded(entry[1])
      if (read and id > read) or (pending and id >= pending) then
        goes_on = false
        break
      end
      dropped = dropped + 1
      bytes = math.max(0, bytes - size_of(entry[2]))
      first = '(' .. entry[1]
    end
  end
  if dropped > 0 then
    redis.call('XTRIM', STREAM, 'MAXLEN', length - dropped)
    -- What strangers added was never counted; an empty stream has no bytes.
    redis.call('HSET', META, 'bytes', length == dropped and 0 or bytes)
    redis.call('HINCRBY', META, 'trimmed', dropped)
  end
  return length - dropped, bytes, dropped
end

-- Makes room for so many entries. Returns {'full', entries, bytes} if there is none.
local function admit(told, adding, adding_bytes)
  local limits = rules(told)
  local length, bytes = trim(limits, adding, adding_bytes)
  local length_max = limits.full == 'r' and limits.length_max or limits.length_cap
  local bytes_max = limits.full == 'r' and limits.bytes_max or limits.bytes_cap
  if length + adding > length_max or bytes + adding_bytes > bytes_max then
    redis.call('HINCRBY', META, 'refused', adding)
    return {'full', length, bytes}
  end
end

-- Of the entries that a step adds: the number of the last one and its id, the id that the next is to have, and the bytes of their numbers.
local sequence, last_id, wish, number_bytes = 0, nil, '*', 0
local format = string.format

-- Begins to add so many entries, whose numbers follow one another. Ids grow whatever the clock does, also over the loss of the stream.
local function begin_adding(count)
  local last = redis.call('HGET', META, 'last')
  if last and is_before(text(now) .. '-0', last) and redis.call('EXISTS', STREAM) == 0 then
    wish = text(tonumber(string.match(last, '^%d+')) + 1) .. '-*'
  end
  sequence = redis.call('HINCRBY', META, 'sequence', text(count)) - count
end

-- Adds an entry and returns its id. `command` is XADD with so many arguments: the third is for the id, the last for the number.
local function add(command, size)
  sequence = sequence + 1
  local mark = format('%d', sequence)
  command[3], command[size] = wish, mark
  last_id = call(unpack(command, 1, size))
  wish, number_bytes = '*', number_bytes + #'sequence' + #mark
  return last_id
end

-- Ends it; the entries have so many bytes without their numbers.
local function end_adding(bytes)
  redis.call('HSET', META, 'last', last_id)
  redis.call('HINCRBY', META, 'bytes', text(bytes + number_bytes))
end
