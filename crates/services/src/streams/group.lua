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

local function number(record, first, last)
  return tonumber(string.sub(record, first, last))
end

local function read(record)
  local length = number(record, 39, 42)
  return {
    state = string.sub(record, 1, 1), token = number(record, 2, 17), failures = number(record, 18, 21), lost = number(record, 22, 25),
    since = number(record, 26, 38), consumer = string.sub(record, 43, 42 + length), place = string.sub(record, 43 + length),
  }
end

local function write(id, entry, at)
  local head = string.format('%s%016d%04d%04d%013d%04d', entry.state, entry.token, math.min(entry.failures, 9999),
    math.min(entry.lost, 9999), entry.since, #entry.consumer)
  redis.call('HSET', RECORDS, id, head .. entry.consumer .. entry.place)
  redis.call('ZADD', TIMES, at, id)
end

-- The place of an entry among those of its key begins with the key; a colon is greater than any digit.
local function head_of(key)
  return #key .. ':' .. key .. ':'
end

local function place_of(key, id)
  return head_of(key) .. padded(id) .. id
end

-- Returns the first place of a key, if there is one.
local function first_of(head)
  return redis.call('ZRANGEBYLEX', PLACES, '[' .. head, '(' .. head .. ':', 'LIMIT', 0, 1)[1]
end

-- Takes an entry out of what the group knows, and frees the next of its key.
local function forget(id, entry)
  redis.call('HDEL', RECORDS, id, '!' .. id)
  redis.call('ZREM', TIMES, id)
  if entry.place == '' then
    return
  end
  redis.call('ZREM', PLACES, entry.place)
  local head = string.sub(entry.place, 1, -(#id + 41))
  local next_place = first_of(head)
  local next_id = next_place and string.sub(next_place, #head + 41)
  local record = next_id and redis.call('HGET', RECORDS, next_id)
  if record and string.sub(record, 1, 1) == 'p' then
    redis.call('HSET', RECORDS, next_id, 'q' .. string.sub(record, 2))
    redis.call('ZADD', TIMES, now, next_id)
    arrived = arrived + 1
  end
end

-- Acknowledges an entry.
local function finish(id, entry)
  redis.call('XACK', STREAM, GROUP, id)
  forget(id, entry)
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
  finish(id, entry)
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
