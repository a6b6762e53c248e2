-- A group as its steps see it: what is known of the entries it has pending, and how they leave it.
--
-- KEYS[5]  the group: hash of options, last, read, fence, cursor and totals; only `deleted` for a while after it was deleted
-- KEYS[6]  records of pending entries by id, and !id what went wrong last
-- KEYS[7]  pending entries by when they can be taken (again): the end of a lease, the end of a pause, NEVER while another of their key goes first
-- KEYS[8]  pending entries with a key, by key and id, if the group keeps the order of keys
-- KEYS[9]  dead letters, a native stream
-- ARGV[1]  the group's name    ARGV[2]  a random number below a million and the most dead letters, with a comma
--
--   record: 1 state │ 2 token 16 │ 18 failures 4 │ 22 lost 4 │ 26 since 13 │ 39 consumer's length 4 │ 43 consumer │ place in KEYS[8], if any
--
-- States are a (leased), r (pause after a failure), q (free), p (parked behind another of its key). An entry is in KEYS[6] and KEYS[7] as long as it
-- is in the native list of pending entries; records tell what that list does not, and it tells strangers what they need.
local HASH, RECORDS, TIMES, PLACES, DEAD = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local GROUP = ARGV[1]
local DICE, DEAD_MAX = string.match(ARGV[2], '^(%d+),(%d+)$')

-- Later than any time.
local NEVER = 9e15

local arrived = 0

-- What a step has to write about entries until `save` does: fields and values of records, times and ids, and places with their scores, of those that the
-- group keeps; ids, fields of records and places of those that leave it, the heads of these places, and ids to acknowledge.
local new_records, new_times, new_places = {}, {}, {}
local left, left_records, left_places, left_heads, heads_count, acknowledged = {}, {}, {}, {}, 0, {}

local function append(list, first, second)
  local size = #list
  list[size + 1], list[size + 2] = first, second
end

local function number(record, first, last)
  return tonumber(sub(record, first, last))
end

local function place_in(record)
  return sub(record, 43 + number(record, 39, 42))
end

local function read(record)
  local length = number(record, 39, 42)
  return {
    state = sub(record, 1, 1), token = number(record, 2, 17), failures = number(record, 18, 21), lost = number(record, 22, 25),
    since = number(record, 26, 38), consumer = sub(record, 43, 42 + length), place = sub(record, 43 + length),
  }
end

-- Returns the record of an entry without its place.
local function record_of(entry)
  local head = string.format('%s%016d%04d%04d%013d%04d', entry.state, entry.token, math.min(entry.failures, 9999),
    math.min(entry.lost, 9999), entry.since, #entry.consumer)
  return head .. entry.consumer
end

-- Keeps an entry with this record, to be taken at that time, a text.
local function keep(id, record, at)
  append(new_records, id, record)
  append(new_times, at, id)
end

local function write(id, entry, at)
  keep(id, record_of(entry) .. entry.place, text(at))
end

-- The place of an entry among those of its key begins with the key; a colon is greater than any digit.
local function head_of(key)
  return #key .. ':' .. key .. ':'
end

local function place_of(key, id)
  return head_of(key) .. padded(id) .. id
end

-- Returns the first places of so many keys, by their heads.
local function first_places(heads, count)
  local first = {}
  if count == 0 then
    return first
  end
  -- Reading what is hardly more than is asked for takes less than asking for each.
  if call('ZCARD', PLACES) > 2 * count then
    for head in pairs(heads) do
      first[head] = call('ZRANGEBYLEX', PLACES, '[' .. head, '(' .. head .. ':', 'LIMIT', 0, 1)[1]
    end
    return first
  end
  for _, place in ipairs(call('ZRANGE', PLACES, 0, -1)) do
    local length = string.match(place, '^%d+')
    local head = sub(place, 1, #length + 2 + tonumber(length))
    if heads[head] and not first[head] then
      first[head] = place
    end
  end
  return first
end

-- Takes an entry out of what the group knows. It may have a note of what went wrong if it has failed.
local function forget(id, place, has_note)
  left[#left + 1] = id
  left_records[#left_records + 1] = id
  if has_note then
    left_records[#left_records + 1] = '!' .. id
  end
  if place ~= '' then
    left_places[#left_places + 1] = place
    local head = sub(place, 1, -(#id + 41))
    heads_count = left_heads[head] and heads_count or heads_count + 1
    left_heads[head] = true
  end
end

-- Acknowledges an entry.
local function finish(id, place, has_note)
  acknowledged[#acknowledged + 1] = id
  forget(id, place, has_note)
end

-- Frees the next of each key of which an entry has left, if any is parked at all.
local function free_next()
  if heads_count == 0 or call('ZCOUNT', TIMES, NEVER, '+inf') == 0 then
    return
  end
  local ids = {}
  for head, place in pairs(first_places(left_heads, heads_count)) do
    ids[#ids + 1] = sub(place, #head + 41)
  end
  for index, record in ipairs(ask_many('HMGET', RECORDS, ids)) do
    if record and sub(record, 1, 1) == 'p' then
      keep(ids[index], 'q' .. sub(record, 2), text(now))
      arrived = arrived + 1
    end
  end
end

local function save_kept()
  call_many('HSET', RECORDS, new_records)
  call_many('ZADD', TIMES, new_times)
  call_many('ZADD', PLACES, new_places)
  new_records, new_times, new_places = {}, {}, {}
end

-- Writes what a step has to write so far. Where an entry has left, the next of its key is free.
local function save()
  save_kept()
  call_many('XACK', STREAM, acknowledged, GROUP)
  call_many('HDEL', RECORDS, left_records)
  call_many('ZREM', TIMES, left)
  call_many('ZREM', PLACES, left_places)
  free_next()
  save_kept()
  left, left_records, left_places, left_heads, heads_count, acknowledged = {}, {}, {}, {}, 0, {}
end

-- Moves an entry to the dead letters with what it was and why it is there; `fields` are false if it is no longer in the stream.
local function bury(id, entry, fields, reason, cause)
  local letter = {}
  for index, value in ipairs(some_of(fields or {})) do
    letter[index] = value
  end
  for name, value in pairs({dlorigin = id, dlreason = reason, dlcause = cause, dlattempts = text(entry.failures), dllost = text(entry.lost)}) do
    letter[#letter + 1] = name
    letter[#letter + 1] = value
  end
  redis.call('XADD', DEAD, '*', unpack(letter))
  redis.call('HINCRBY', HASH, 'dead', 1)
  local excess = redis.call('XLEN', DEAD) - tonumber(DEAD_MAX)
  if excess > 0 then
    redis.call('XTRIM', DEAD, 'MAXLEN', DEAD_MAX)
    redis.call('HINCRBY', HASH, 'dropped', excess)
  end
  finish(id, entry.place, true)
end

-- Tells whether a group that ends has nothing left to read: nothing is there, and nothing can come any more.
local function is_read(ending)
  local last = redis.call('HGET', HASH, 'last') or '0-0'
  if not is_before(last, ending) then
    return true
  end
  local newest = redis.call('EXISTS', STREAM) == 1 and field(redis.call('XINFO', 'STREAM', STREAM), 'last-generated-id') or '0-0'
  local is_closed = not is_before(newest, ending) or padded(text(now) .. '-0') > padded(ending)
  return is_closed and #redis.call('XRANGE', STREAM, '(' .. last, ending, 'COUNT', 1) == 0
end

local function fields_of(id)
  local found = redis.call('XRANGE', STREAM, id, id)[1]
  return found and found[2]
end

-- Returns attempts and lost leases after which an entry is dead, first and longest pause in ms, most pending entries, and k if the order of keys is
-- kept; nil if there is no such group.
local function options()
  local all = redis.call('HGET', HASH, 'options')
  if not all then
    return nil
  end
  local attempts, lost, base, cap, pending, order = string.match(all, '^(%d+),(%d+),(%d+),(%d+),(%d+),(%a)$')
  return {attempts_max = tonumber(attempts), lost_max = tonumber(lost), retry_base = tonumber(base), retry_cap = tonumber(cap),
    pending_max = tonumber(pending), is_ordered = order == 'k'}
end
