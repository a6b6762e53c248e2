-- Moving jobs. What a step decides is collected and written by `save`, many at once.
--
-- ARGV[1]  a random number below a million, how many completed, cancelled or expired, and dead jobs are kept, how long the
--          ended and how long the dead, in ms; with commas
local RANDOM, COMPLETED_MAX, ENDED_MAX, DEAD_MAX, ENDED_AGE, DEAD_AGE =
  string.match(ARGV[1], '^(%d+),(%d+),(%d+),(%d+),(%d+),(%d+)$')
local KEEP = {c = tonumber(COMPLETED_MAX), x = tonumber(ENDED_MAX), o = tonumber(ENDED_MAX), k = tonumber(DEAD_MAX)}
local AGE = {c = tonumber(ENDED_AGE), x = tonumber(ENDED_AGE), o = tonumber(ENDED_AGE), k = tonumber(DEAD_AGE)}
local TOTALS = {c = 'completed', x = 'cancelled', o = 'expired', k = 'dead'}

-- Most jobs of each kind that one step moves because their time has come, and most of an ended kind that it forgets beside
-- as many as it adds.
local SWEEP = 100

-- Most of those who wait for work that one step wakes.
local WAKE = 16

local now = now_ms()
-- The same as text, which costs less to pass to a command than a number does.
local NOW = string.format('%013d', now)
local dice = tonumber(RANDOM)
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
    enter(GROUPED, 0, group .. MARK .. order .. id)
    groups().touch(group)
  else
    enter(WAITING, order, id)
  end
end

-- Takes a job out of the place that its state says.
local function leave_place(id, state)
  local place, group = place_of(state), group_of(state)
  if group and place == 'w' then
    leave(GROUPED, group .. MARK .. string.sub(state, 2, 17) .. id)
    groups().touch(group)
    return
  end
  push(removed, PLACES[place], id)
  if group and PLACES[place] == ACTIVE then
    leave(HELD, group .. MARK .. id)
    groups().touch(group)
  end
end

local function write_many(command, key, args)
  for first = 1, #args, CHUNK do
    redis.call(command, key, unpack(args, first, math.min(first + CHUNK - 1, #args)))
  end
end

local function drop_notes(ids)
  local fields = {}
  for _, id in ipairs(ids) do
    fields[#fields + 1] = 'p' .. id
    fields[#fields + 1] = 'e' .. id
  end
  write_many('HDEL', NOTES, fields)
end

-- Forgets the oldest of an ended kind, above the number that is kept and past their age.
local function trim(place, at_most)
  local key = PLACES[place]
  local excess = redis.call('ZCARD', key) - KEEP[place]
  local aged = redis.call('ZCOUNT', key, '-inf', now - AGE[place])
  local count = math.min(math.max(excess, aged), at_most)
  if count > 0 then
    local ids = redis.call('ZRANGE', key, 0, count - 1)
    redis.call('ZREMRANGEBYRANK', key, 0, count - 1)
    write_many('HDEL', STATES, ids)
    if place == 'k' then
      write_many('HDEL', RECORDS, ids)
      drop_notes(ids)
      redis.call('HINCRBY', META, 'dropped', count)
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
      drop_notes(records_gone)
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
      trim(place, count + SWEEP)
    end
  end
  if made then
    made.save()
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
  freed = freed + number(state, 78, 86)
  if string.find(state, ';', 100, true) then
    groups().count(-1)
  end
  ended[place] = (ended[place] or 0) + 1
  tell_parent(id, place)
  if KEEP[place] > 0 then
    set_state(id, rewritten(place, state, counts, token))
    enter(PLACES[place], NOW, id)
  else
    forgotten[#forgotten + 1] = id
  end
  if place == 'k' and KEEP.k > 0 then
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
        wait(parent, state, counts_of(state), NO_TOKEN, now)
      end
      save()
    end
  end
end

-- Counts a failure: the job is tried again after a pause, or dead. Returns where it went.
local function fail(id, state, token, cause, pause, give_up)
  local failures = math.min(number(state, 18, 21) + 1, 9999)
  local counts = string.format('%04d', failures) .. string.sub(state, 22, 25)
  local failures_max, _, first, longest = string.match(string.sub(state, 100), '^(%d+),(%d+),(%d+),(%d+)')
  if give_up or failures >= tonumber(failures_max) then
    finish(id, state, 'k', counts, token, cause)
    return 'k'
  end
  if not pause then
    -- Between half and all of the pause, which doubles each time; the dice show another number below a million each time.
    local whole = math.min(tonumber(longest), tonumber(first) * 2 ^ math.min(failures - 1, 40))
    dice = (dice + 618034) % 1000000
    pause = math.floor(whole * (1 - dice / 2000000))
  end
  notes[#notes + 1] = 'e' .. id
  notes[#notes + 1] = cause
  wait(id, state, counts, token, now + pause)
  return pause > 0 and 'd' or 'w'
end

-- Takes jobs back whose leases have ended without an outcome.
local function take_back()
  local ids = redis.call('ZRANGEBYSCORE', ACTIVE, '-inf', now, 'LIMIT', 0, SWEEP)
  if #ids == 0 then
    return 0
  end
  for index, state in ipairs(read_many(STATES, ids)) do
    local id, timeout = ids[index], number(state, 68, 77)
    leave_place(id, state)
    if place_of(state) == 'r' then
      finish(id, state, 'x', counts_of(state), NO_TOKEN)
    elseif timeout > 0 and number(state, 42, 54) + timeout <= now then
      fail(id, state, NO_TOKEN, 'timed out')
    else
      local lost = math.min(number(state, 22, 25) + 1, 9999)
      local counts = string.sub(state, 18, 21) .. string.format('%04d', lost)
      local _, lost_max = string.match(string.sub(state, 100), '^(%d+),(%d+)')
      if lost >= tonumber(lost_max) then
        local cause = 'quarantined: its lease ended ' .. text(lost) .. ' times without an outcome'
        finish(id, state, 'k', counts, NO_TOKEN, cause)
      else
        wait(id, state, counts, NO_TOKEN, now)
      end
    end
  end
  redis.call('HINCRBY', META, 'lost', #ids)
  save()
  return #ids
end

-- Has delayed jobs wait that are due.
local function promote()
  local ids = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, SWEEP)
  if #ids == 0 then
    return 0
  end
  for index, state in ipairs(read_many(STATES, ids)) do
    leave(DELAYED, ids[index])
    enter_waiting(ids[index], state)
    set_state(ids[index], 'w' .. string.sub(state, 2))
    arrived = arrived + 1
  end
  save()
  return #ids
end

-- Ends jobs that have waited for too long.
local function expire()
  local ids = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, SWEEP)
  if #ids == 0 then
    return 0
  end
  for index, state in ipairs(read_many(STATES, ids)) do
    leave(EXPIRY, ids[index])
    leave_place(ids[index], state)
    finish(ids[index], state, 'o', counts_of(state), NO_TOKEN)
  end
  save()
  return #ids
end

-- How many of so many places there is work for at least: of a group in the ring only the first job is counted.
local function work_for(places)
  local length = redis.call('ZCARD', WAITING)
  return math.min(places, length < places and length + redis.call('ZCARD', RING) or length)
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
