-- A queue as its steps see it: where what lies, and how a job's state is written.
--
-- KEYS[1]  meta: hash of seq, fence, bytes, paused and totals; its name is also the channel of those who wait for work
-- KEYS[2]  states by id        KEYS[3]  records by id: what the producer gave, opaque here
-- KEYS[4]  waiting by order    KEYS[5]  delayed by when they are due    KEYS[6]  active by the end of their leases
-- KEYS[7]  notes: p<id> progress, e<id> what went wrong last, l<id> log  KEYS[8]  who waits for work, by until when
-- KEYS[9]  those of the waiting and delayed that expire, by when
-- KEYS[10..13]  completed, cancelled, expired and dead by when         KEYS[14]  blocked by when they were enqueued
-- KEYS[15]  flows: c<id> of a child, its parent's order 16 and id; n<id> of a parent, how many children it waits for
-- KEYS[16]  the waiting of groups: group, byte 1, order 16, id          KEYS[17]  groups whose turn will come, by when: see groups.lua
-- KEYS[18]  the active of groups: group, byte 1, id                   KEYS[19]  stream of events, see moves.lua; its name is also the channel of its readers
-- KEYS[20]  groups that rest, by when the next of their jobs may be leased, and KEYS[21] how fast they were leased, both in us: see groups.lua
--
-- A job is in one of these places, and its state says in which: w d a, r (active, to be cancelled), p (blocked), c x o k.
--
--   1 place │ 2 order 16 │ 18 failures 4 │ 22 lost leases 4 │ 26 token 16 │ 42 since 13 │ 55 expires 13 │ 68 timeout 10
--     │ 78 size 9 │ 87 created 13 │ 100 failures allowed , lost leases allowed , first pause , longest pause │ ; and its group, if it has one
--
-- Times are ms. The order is the priority's share of 2^44 numbers and the number of the job; the token that of its last lease.
local META, STATES, RECORDS, WAITING, DELAYED, ACTIVE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local NOTES, WAITERS, EXPIRY, BLOCKED, FLOWS = KEYS[7], KEYS[8], KEYS[9], KEYS[14], KEYS[15]
local GROUPED, RING, HELD, EVENTS = KEYS[16], KEYS[17], KEYS[18], KEYS[19]
local PLACES = {w = WAITING, d = DELAYED, a = ACTIVE, r = ACTIVE, p = BLOCKED,
  c = KEYS[10], x = KEYS[11], o = KEYS[12], k = KEYS[13]}
local NO_TOKEN = '0000000000000000'
local LIVE = {w = true, d = true, a = true, r = true, p = true}

-- How many keys every step takes.
local KEYS_OF_ALL = 21

-- Most arguments of one command that are unpacked at once.
local CHUNK = 2000

local function place_of(state)
  return string.sub(state, 1, 1)
end

-- The failures and lost leases of a job, as they stand in its state.
local function counts_of(state)
  return string.sub(state, 18, 25)
end

-- The token of a job's last lease, as it stands in its state.
local function token_of(state)
  return string.sub(state, 26, 41)
end

-- Tells whether a token, as it was given to a worker, is that of a job's last lease, if there was one.
local function is_leased_as(state, token)
  local last = token_of(state)
  return last ~= NO_TOKEN and (last == token or tonumber(last) == tonumber(token))
end

-- The group of a job; nil if it has none.
local function group_of(state)
  local mark = string.find(state, ';', 100, true)
  return mark and string.sub(state, mark + 1)
end

local function number(state, first, last)
  return tonumber(string.sub(state, first, last))
end

-- Calls a read for many fields and returns the values in their order, false for what is not there.
local function read_many(key, fields)
  if #fields == 0 then
    return {}
  end
  if #fields <= CHUNK then
    return redis.call('HMGET', key, unpack(fields))
  end
  local values = {}
  for first = 1, #fields, CHUNK do
    local some = redis.call('HMGET', key, unpack(fields, first, math.min(first + CHUNK - 1, #fields)))
    for index = 1, #some do
      values[#values + 1] = some[index]
    end
  end
  return values
end
