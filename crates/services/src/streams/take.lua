-- Leases entries to a consumer: those whose time has come again first, then new ones.
--
-- KEYS[1..9]  see stream.lua and group.lua
-- ARGV[1..2]  see group.lua
-- ARGV[3]     the consumer            ARGV[4..5]  most entries, and for how long they are leased in ms
-- ARGV[6..7]  name under which the caller waits if there is nothing, or '', and for how long in ms
-- returns     {'ok', {for each entry: id, token, failures, lost leases, {fields and values}}, ms until it is worth asking again or 0,
--             1 if asking at once finds more, 1 if the group had to be restored, how many entries it has missed, how many died here}
--             | {'none', 1 if it was deleted} | {'crowded'}: there are too many consumers
local CONSUMER, COUNT, LEASE, NAME, WAIT = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]

-- Most pending entries that one step looks at for such as it does not know, and how often that is done, in ms.
local ADOPT, ADOPT_EVERY = 50, 1000
-- Most consumers of a group.
local CONSUMERS = 1000
-- After so many ms without a sign of life a consumer without pending entries is forgotten.
local CONSUMER_IDLE = 3600000

local known = options()
if not known then
  return {'none', redis.call('HEXISTS', HASH, 'deleted')}
end

-- Makes the group again where it was, with what it had pending: somebody destroyed it, or the stream with it.
local function restore()
  redis.call('XGROUP', 'CREATE', STREAM, GROUP, redis.call('HGET', HASH, 'last') or '0', 'MKSTREAM')
  for _, id in ipairs(redis.call('ZRANGE', TIMES, 0, known.pending_max - 1)) do
    local record = redis.call('HGET', RECORDS, id)
    if record then
      redis.call('XCLAIM', STREAM, GROUP, read(record).consumer, 0, id, 'FORCE', 'JUSTID')
    end
  end
end

local restored = 0
local made = redis.pcall('XGROUP', 'CREATECONSUMER', STREAM, GROUP, CONSUMER)
if type(made) == 'table' and made.err then
  restore()
  restored = 1
elseif made == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', STREAM)) do
    if field(group, 'name') == GROUP and field(group, 'consumers') > CONSUMERS then
      redis.call('XGROUP', 'DELCONSUMER', STREAM, GROUP, CONSUMER)
      return {'crowded'}
    end
  end
end

local state = redis.call('HMGET', HASH, 'fence', 'cursor', 'adopted', 'until', 'types', 'keys', 'read')
-- In µs, so that it grows also over the loss of what it was.
local time = redis.call('TIME')
local fence = math.max(tonumber(state[1] or 0) + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
local leased, more, missed, died, lost, skipped = {}, 0, 0, 0, 0, 0
local lease_ends = text(now + LEASE)

-- Gives the consumer an entry that has this record now.
local function give(id, record, failures, lost_leases, fields)
  keep(id, record, lease_ends)
  local size = #leased
  leased[size + 1], leased[size + 2], leased[size + 3], leased[size + 4], leased[size + 5] = id, fence, failures, lost_leases, fields
end

-- Notices entries that consumers of their own kind have read, with XREADGROUP: they are taken back too when nobody acknowledges them.
local function adopt()
  local cursor = state[2] or '-'
  local found = redis.call('XPENDING', STREAM, GROUP, cursor, '+', ADOPT)
  for _, pending in ipairs(found) do
    local id, idle = pending[1], tonumber(pending[3])
    if redis.call('HEXISTS', RECORDS, id) == 0 then
      local fields = fields_of(id)
      local key = known.is_ordered and fields and field(fields, 'partitionkey')
      local place = key and place_of(key, id) or ''
      if key then
        append(new_places, '0', place)
      end
      local entry = {state = 'a', token = 0, failures = 0, lost = 0, since = now, consumer = pending[2], place = place}
      write(id, entry, now + math.max(0, LEASE - idle))
    end
  end
  if #found == ADOPT then
    redis.call('HSET', HASH, 'cursor', '(' .. found[ADOPT][1], 'adopted', now)
    return
  end
  redis.call('HSET', HASH, 'cursor', '-', 'adopted', now)
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', STREAM, GROUP)) do
    if field(consumer, 'pending') == 0 and tonumber(field(consumer, 'idle')) > CONSUMER_IDLE then
      redis.call('XGROUP', 'DELCONSUMER', STREAM, GROUP, field(consumer, 'name'))
    end
  end
end

-- What becomes of an entry whose time has come and that nobody is to have.
local function leave_out(id, entry)
  local fields = entry and fields_of(id)
  if not entry or #redis.call('XPENDING', STREAM, GROUP, id, id, 1) == 0 and fields then
    -- Acknowledged behind our back.
    forget(id, entry and entry.place or '', true)
    return
  end
  died = died + 1
  if not fields then
    bury(id, entry, false, 'gone', 'the entry is no longer in the stream')
    return
  end
  if entry.state == 'a' then
    entry.lost, lost = entry.lost + 1, lost + 1
  end
  bury(id, entry, fields, 'lost', redis.call('HGET', RECORDS, '!' .. id) or 'its consumers gave no sign of life')
end

-- Takes again what was lost, has paused for long enough, or was parked.
local function retake()
  local due = redis.call('ZRANGEBYSCORE', TIMES, '-inf', now, 'LIMIT', 0, COUNT)
  local entries, again, fields_by_id = {}, {}, {}
  for index, record in ipairs(ask_many('HMGET', RECORDS, due)) do
    local entry = record and read(record)
    entries[index] = entry
    if entry and entry.lost + (entry.state == 'a' and 1 or 0) < known.lost_max then
      again[#again + 1] = due[index]
    end
  end
  -- Those of them that are still pending, and in the stream.
  if #again > 0 then
    for _, claimed in ipairs(redis.call('XCLAIM', STREAM, GROUP, CONSUMER, 0, unpack(again))) do
      fields_by_id[claimed[1]] = claimed[2]
    end
  end
  for index, id in ipairs(due) do
    local entry, fields = entries[index], fields_by_id[id]
    if fields then
      if entry.state == 'a' then
        entry.lost, lost = entry.lost + 1, lost + 1
      end
      entry.state, entry.token, entry.since, entry.consumer = 'a', fence, now, CONSUMER
      give(id, record_of(entry) .. entry.place, entry.failures, entry.lost, fields)
    else
      leave_out(id, entry)
    end
  end
  if #due == COUNT then
    more = 1
  end
end

local function set_of(names)
  local set = names and {}
  for name in string.gmatch(names or '', '[^\n]+') do
    set[name] = true
  end
  return set
end

-- Returns key, group that it is meant for, type and number of an entry.
local function attributes(fields)
  local key, to, kind, told
  for index = 1, #fields - 1, 2 do
    local name = fields[index]
    if name == 'type' then
      kind = kind or fields[index + 1]
    elseif name == 'partitionkey' then
      key = key or fields[index + 1]
    elseif name == 'sequence' then
      told = told or fields[index + 1]
    elseif name == 'redriveto' then
      to = to or fields[index + 1]
    end
  end
  return key, to, kind, number_in(told)
end

-- Reads new entries, up to where the group ends.
local function read_new(room)
  if state[4] then
    local last = redis.call('HGET', HASH, 'last') or '0-0'
    room = is_before(last, state[4]) and #redis.call('XRANGE', STREAM, '(' .. last, state[4], 'COUNT', room) or 0
  end
  local found = room > 0 and redis.call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', room, 'STREAMS', STREAM, '>')
  local entries = found and found[1][2] or {}
  local types, keys, sequence = set_of(state[5]), set_of(state[6]), tonumber(state[7])
  -- All that are new have the same records but for their places, and all but the first of a key are parked.
  local entry = {state = 'a', token = fence, failures = 0, lost = 0, since = now, consumer = CONSUMER}
  local given = record_of(entry)
  entry.state, entry.token = 'p', 0
  local parked, never = record_of(entry), text(NEVER)
  -- What is passed over, and the heads of the others' places.
  local heads, of_entry, count = {}, {}, 0
  for index, found_entry in ipairs(entries) do
    local key, to, kind, own = attributes(found_entry[2])
    if own and sequence and own > sequence + 1 then
      missed = missed + own - sequence - 1
    end
    sequence = own or sequence
    if (to and to ~= GROUP) or (types and not types[kind or '']) or (keys and not keys[key or '']) then
      of_entry[index] = false
      acknowledged[#acknowledged + 1] = found_entry[1]
      skipped = skipped + 1
    elseif known.is_ordered and key then
      local head = head_of(key)
      of_entry[index] = head
      count = heads[head] and count or count + 1
      heads[head] = true
    end
  end
  local held = first_places(heads, count)
  for index, found_entry in ipairs(entries) do
    local id, head = found_entry[1], of_entry[index]
    if head then
      local place = head .. padded(id) .. id
      append(new_places, '0', place)
      if held[head] then
        keep(id, parked .. place, never)
      else
        give(id, given .. place, 0, 0, found_entry[2])
      end
      held[head] = true
    elseif head == nil then
      give(id, given, 0, 0, found_entry[2])
    end
  end
  if #entries > 0 then
    redis.call('HSET', HASH, 'last', entries[#entries][1], 'read', text(sequence or 0))
  end
  return #entries == room and room > 0
end

local adopted = tonumber(state[3] or 0)
if now >= adopted + ADOPT_EVERY or now < adopted then
  adopt()
  save()
end
retake()
save()
local room = math.min(COUNT - #leased / 5, known.pending_max - redis.call('ZCARD', TIMES))
if room > 0 and read_new(room) then
  more = 1
end
save()
local mark = state[4] and is_read(state[4]) and 'd' or 'o'
redis.call('ZADD', GROUPS, now, mark .. GROUP)
if mark == 'd' then
  redis.call('ZREM', GROUPS, 'o' .. GROUP)
end
redis.call('HSET', HASH, 'fence', text(fence))
for name, by in pairs({missed = missed, delivered = #leased / 5, lost = lost, skipped = skipped}) do
  if by > 0 then
    redis.call('HINCRBY', HASH, name, text(by))
  end
end

local first = redis.call('ZRANGE', TIMES, 0, 0, 'WITHSCORES')[2]
local after = first and tonumber(first) < NEVER and math.max(1, tonumber(first) - now) or 0
if #leased > 0 then
  if NAME ~= '' then
    redis.call('ZREM', WAITERS, NAME .. GROUP)
  end
  -- Who finds something and leaves some wakes the next.
  wake(GROUP, more)
elseif NAME ~= '' and more == 0 then
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', WAITERS, '-inf', now, 'LIMIT', 0, 10)) do
    redis.call('ZREM', WAITERS, member)
  end
  redis.call('ZADD', WAITERS, now + tonumber(WAIT), NAME .. GROUP)
  redis.call('PEXPIRE', WAITERS, WAIT)
end
return {'ok', leased, after, more, restored, missed, died}
