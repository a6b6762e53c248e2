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
local leased, more, missed, died = {}, 0, 0, 0

local function deliver(id, entry, fields)
  entry.state, entry.token, entry.since, entry.consumer = 'a', fence, now, CONSUMER
  write(id, entry, now + LEASE)
  for _, part in ipairs({id, fence, entry.failures, entry.lost, fields}) do
    leased[#leased + 1] = part
  end
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
        redis.call('ZADD', PLACES, 0, place)
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

-- Takes again what was lost, has paused for long enough, or was parked.
local function retake()
  local due = redis.call('ZRANGEBYSCORE', TIMES, '-inf', now, 'LIMIT', 0, COUNT)
  for _, id in ipairs(due) do
    local record = redis.call('HGET', RECORDS, id)
    local entry = record and read(record) or {place = ''}
    local fields = record and fields_of(id)
    if not record or #redis.call('XPENDING', STREAM, GROUP, id, id, 1) == 0 and fields then
      -- Acknowledged behind our back.
      forget(id, entry)
    elseif not fields then
      bury(id, entry, false, 'gone', 'the entry is no longer in the stream')
      died = died + 1
    else
      if entry.state == 'a' then
        entry.lost = entry.lost + 1
        redis.call('HINCRBY', HASH, 'lost', 1)
      end
      if entry.lost >= known.lost_max then
        bury(id, entry, fields, 'lost', redis.call('HGET', RECORDS, '!' .. id) or 'its consumers gave no sign of life')
        died = died + 1
      else
        redis.call('XCLAIM', STREAM, GROUP, CONSUMER, 0, id)
        deliver(id, entry, fields)
      end
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

-- Reads new entries, up to where the group ends.
local function read_new(room)
  if state[4] then
    local last = redis.call('HGET', HASH, 'last') or '0-0'
    room = is_before(last, state[4]) and #redis.call('XRANGE', STREAM, '(' .. last, state[4], 'COUNT', room) or 0
  end
  local found = room > 0 and redis.call('XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', room, 'STREAMS', STREAM, '>')
  local entries = found and found[1][2] or {}
  local types, keys, sequence = set_of(state[5]), set_of(state[6]), tonumber(state[7])
  for _, found_entry in ipairs(entries) do
    local id, fields = found_entry[1], found_entry[2]
    local key, to, own = field(fields, 'partitionkey'), field(fields, 'redriveto'), sequence_in(fields)
    if own and sequence and own > sequence + 1 then
      missed = missed + own - sequence - 1
    end
    sequence = own or sequence
    if (to and to ~= GROUP) or (types and not types[field(fields, 'type') or '']) or (keys and not keys[key or '']) then
      redis.call('XACK', STREAM, GROUP, id)
      redis.call('HINCRBY', HASH, 'skipped', 1)
    else
      local entry = {state = 'p', token = 0, failures = 0, lost = 0, since = now, consumer = CONSUMER, place = ''}
      local is_parked = false
      if known.is_ordered and key then
        entry.place = place_of(key, id)
        is_parked = first_of(head_of(key)) ~= nil
        redis.call('ZADD', PLACES, 0, entry.place)
      end
      if is_parked then
        write(id, entry, NEVER)
      else
        deliver(id, entry, fields)
      end
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
end
retake()
local room = math.min(COUNT - #leased / 5, known.pending_max - redis.call('ZCARD', TIMES))
if room > 0 and read_new(room) then
  more = 1
end
local mark = state[4] and is_read(state[4]) and 'd' or 'o'
redis.call('ZADD', GROUPS, now, mark .. GROUP)
if mark == 'd' then
  redis.call('ZREM', GROUPS, 'o' .. GROUP)
end
redis.call('HSET', HASH, 'fence', text(fence))
redis.call('HINCRBY', HASH, 'missed', missed)
redis.call('HINCRBY', HASH, 'delivered', #leased / 5)

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
