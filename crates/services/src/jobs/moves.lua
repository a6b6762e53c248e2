-- Moving jobs. What a step decides is collected and written by `save`, many at once.
--
-- ARGV[1]  a random number below a million, how many completed, cancelled or expired, and dead jobs are kept, how long the
--          ended and how long the dead, in ms; with commas
local keep, age

-- How many of an ended kind are kept. Read when it is asked for, since most steps end nothing.
local function kept_of(place)
  if not keep then
    local completed, ended, dead, ended_age, dead_age = string.match(ARGV[1], '^%d+,(%d+),(%d+),(%d+),(%d+),(%d+)$')
    keep = {c = tonumber(completed), x = tonumber(ended), o = tonumber(ended), k = tonumber(dead)}
    age = {c = tonumber(ended_age), x = tonumber(ended_age), o = tonumber(ended_age), k = tonumber(dead_age)}
  end
  return keep[place]
end

local TOTALS = {c = 'completed', x = 'cancelled', o = 'expired', k = 'dead'}

-- Most jobs of each kind that one step moves because their time has come, and most of an ended kind that it forgets beside
-- as many as it adds.
local SWEEP = 100

-- Most of those who wait for work that one step wakes.
local WAKE = 16

local now = now_ms()
-- The same as text, which costs less to pass to a command than a number does.
local NOW = string.format('%013d', now)

-- How many events the queue keeps, as META says; false if it keeps none, nil while that has not been read.
local events_max
local is_told = false

-- Adds an event, if the queue keeps any: its kind, the job, the letter of where the job is now, and what there is to say of it. Events have the
-- numbers 0-1, 0-2 and so on.
local function tell(kind, id, place, what)
  if events_max == nil then
    events_max = redis.call('HGET', KEYS[1], 'events_max')
  end
  if events_max then
    redis.call('XADD', KEYS[19], 'MAXLEN', '~', events_max, '0-*', 'event', kind, 'id', id, 'state', place, 'at', NOW, 'what', what or '')
    if not is_told then
      -- A hint, as in `wake`.
      redis.pcall('PUBLISH', KEYS[19], '')
      is_told = true
    end
  end
end

local removed, added, states, forgotten, records_gone, notes, ended = {}, {}, {}, {}, {}, {}, {}
local arrived, freed, children = 0, 0, {}

local function push(lists, key, value)
  local list = lists[key]
  if not list then
    list = {}
    lists[key] = list
  end
  list[#list + 1] = value
end

local function leave(key, id)
  push(removed, key, id)
end

local function enter(key, score, id)
  push(added, key, score)
  push(added, key, id)
end

local function set_state(id, state)
  states[#states + 1] = id
  states[#states + 1] = state
end

-- Has a job be among those that wait, in the order that its state says.
local function enter_waiting(id, state)
  local group, order = group_of(state), string.sub(state, 2, 17)
  if group then
    groups().wait(group, order, id)
  else
    enter(WAITING, order, id)
  end
end

-- Takes a job out of the place that its state says.
local function leave_place(id, state)
  local group = group_of(state)
  if group then
    groups().leave(group, id, state)
  end
  -- Of a group that waits, it is not there, and that does not matter.
  leave(PLACES[string.sub(state, 1, 1)], id)
end

local function write_many(command, key, args)
  for first = 1, #args, CHUNK do
    redis.call(command, key, unpack(args, first, math.min(first + CHUNK - 1, #args)))
  end
end

-- Drops notes of these kinds. A log stays with its job for as long as that is remembered, the others for as long as it has a record.
local function drop_notes(ids, kinds)
  local fields = {}
  for _, id in ipairs(ids) do
    for _, kind in ipairs(kinds) do
      fields[#fields + 1] = kind .. id
    end
  end
  write_many('HDEL', NOTES, fields)
end

-- Forgets the oldest of an ended kind, above the number that is kept and past their age.
local function trim(place, at_most, has_notes)
  local key = PLACES[place]
  local excess = redis.call('ZCARD', key) - kept_of(place)
  local aged = redis.call('ZCOUNT', key, '-inf', now - age[place])
  local count = math.min(math.max(excess, aged), at_most)
  if count > 0 then
    local ids = redis.call('ZRANGE', key, 0, count - 1)
    redis.call('ZREMRANGEBYRANK', key, 0, count - 1)
    write_many('HDEL', STATES, ids)
    if place == 'k' then
      write_many('HDEL', RECORDS, ids)
      drop_notes(ids, {'p', 'e'})
      redis.call('HINCRBY', META, 'dropped', count)
    end
    if has_notes then
      drop_notes(ids, {'l'})
    end
  end
end

local follow_children

-- Writes what has been collected. Lists of which nothing was collected stay as they are: making them anew costs as much as a command.
local function save()
  if next(removed) then
    for key, ids in pairs(removed) do
      write_many('ZREM', key, ids)
    end
    removed = {}
  end
  if next(added) then
    for key, pairs_of_key in pairs(added) do
      write_many('ZADD', key, pairs_of_key)
    end
    added = {}
  end
  if #states > 0 then
    write_many('HSET', STATES, states)
    states = {}
  end
  -- Most queues have neither notes nor flows.
  local has_more = #records_gone + #children > 0 and redis.call('EXISTS', NOTES, FLOWS) > 0
  if #records_gone > 0 then
    write_many('HDEL', STATES, forgotten)
    write_many('HDEL', RECORDS, records_gone)
    if has_more then
      drop_notes(records_gone, {'p', 'e'})
      drop_notes(forgotten, {'l'})
    end
    forgotten, records_gone = {}, {}
  end
  if #notes > 0 then
    write_many('HSET', NOTES, notes)
    notes = {}
  end
  if freed ~= 0 then
    redis.call('HINCRBY', META, 'bytes', -freed)
    freed = 0
  end
  if next(ended) then
    local counts = ended
    ended = {}
    for place, count in pairs(counts) do
      redis.call('HINCRBY', META, TOTALS[place], count)
      trim(place, count + SWEEP, has_more)
    end
  end
  if made then
    made.save()
    -- Somebody may want to know when they come due.
    arrived, made.resting = arrived + made.resting, 0
  end
  if #children > 0 then
    if has_more then
      follow_children()
    end
    children = {}
  end
end

-- The state of a job in another place, with counts and token as texts of their width.
local function rewritten(place, state, counts, token)
  return place .. string.sub(state, 2, 17) .. counts .. token .. NOW .. string.sub(state, 55)
end

-- Has a job wait until it is due; at once if that is now.
local function wait(id, state, counts, token, due)
  if due > now then
    set_state(id, rewritten('d', state, counts, token))
    enter(DELAYED, due, id)
  else
    set_state(id, rewritten('w', state, counts, token))
    enter_waiting(id, state)
  end
  local expires = number(state, 55, 67)
  if expires > 0 then
    enter(EXPIRY, expires, id)
  end
  arrived = arrived + 1
end

-- Has `follow_children` look whether a job that has ended has a parent.
local function tell_parent(id, place)
  children[#children + 1] = id
  children[#children + 1] = place
end

-- Ends a job. Only the dead keep their records.
local function finish(id, state, place, counts, token, cause)
  if events_max ~= false then
    tell(TOTALS[place], id, place, cause)
  end
  freed = freed + number(state, 78, 86)
  if string.find(state, ';', 100, true) then
    groups().count(-1)
  end
  ended[place] = (ended[place] or 0) + 1
  tell_parent(id, place)
  local is_kept = kept_of(place) > 0
  if is_kept then
    set_state(id, rewritten(place, state, counts, token))
    enter(PLACES[place], NOW, id)
  else
    forgotten[#forgotten + 1] = id
  end
  if place == 'k' and is_kept then
    notes[#notes + 1] = 'e' .. id
    notes[#notes + 1] = cause
  else
    records_gone[#records_gone + 1] = id
  end
end

-- Takes a job that nobody works on out of where it is.
local function withdraw(id, state)
  leave_place(id, state)
  if number(state, 55, 67) > 0 then
    leave(EXPIRY, id)
  end
end

-- Tells the parents of jobs that have ended. A parent whose children have all completed waits for a worker; one of which a child ended
-- otherwise is dead. A parent is nobody's child, so this goes no further.
follow_children = function()
  local all = children
  children = {}
  if redis.call('EXISTS', FLOWS) == 0 then
    return
  end
  for index = 1, #all, 2 do
    local child, ended_as = all[index], all[index + 1]
    local link = redis.call('HGET', FLOWS, 'c' .. child)
    redis.call('HDEL', FLOWS, 'c' .. child, 'n' .. child)
    local parent = link and string.sub(link, 17)
    local state = parent and redis.call('HGET', STATES, parent)
    if state and place_of(state) == 'p' and string.sub(state, 2, 17) == string.sub(link, 1, 16) then
      if ended_as ~= 'c' then
        withdraw(parent, state)
        finish(parent, state, 'k', counts_of(state), NO_TOKEN, 'its child ' .. child .. ' has not been completed')
      elseif redis.call('HINCRBY', FLOWS, 'n' .. parent, -1) == 0 then
        redis.call('HDEL', FLOWS, 'n' .. parent)
        leave(BLOCKED, parent)
        tell('unblocked', parent, 'w')
        wait(parent, state, counts_of(state), NO_TOKEN, now)
      end
      save()
    end
  end
end

-- How many of so many places there is work for at least: of a group in the ring only the first job is counted.
local function work_for(places, is_grouped)
  local length = redis.call('ZCARD', WAITING)
  return math.min(places, is_grouped and length < places and length + redis.call('ZCARD', KEYS[17]) or length)
end

-- Wakes some of those who wait for work. A hint: if it cannot be sent, they look by themselves a little later.
local function wake(count)
  if count > 0 then
    local waiters = redis.call('ZPOPMAX', WAITERS, math.min(count, WAKE))
    for index = 1, #waiters, 2 do
      if tonumber(waiters[index + 1]) > now then
        redis.pcall('PUBLISH', META, waiters[index])
      end
    end
  end
end
