-- What ends a run badly, and what happens because its time has come.

local dice

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
    dice = ((dice or tonumber(string.match(ARGV[1], '^%d+'))) + 618034) % 1000000
    pause = math.floor(whole * (1 - dice / 2000000))
  end
  notes[#notes + 1] = 'e' .. id
  notes[#notes + 1] = cause
  wait(id, state, counts, token, now + pause)
  local place = pause > 0 and 'd' or 'w'
  tell('failed', id, place, cause)
  return place
end

-- The first jobs of a place whose time has come, and their states.
local function due_in(key)
  local ids = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, SWEEP)
  return ids, read_many(STATES, ids)
end

-- Moves what is due, a bounded number of each kind. Returns how many have expired, were taken back and have come due.
local function move_due()
  -- Ends jobs that have waited for too long.
  local expired, states_of = due_in(EXPIRY)
  for index, state in ipairs(states_of) do
    leave(EXPIRY, expired[index])
    leave_place(expired[index], state)
    finish(expired[index], state, 'o', counts_of(state), NO_TOKEN)
  end
  if #expired > 0 then
    save()
  end

  -- Takes jobs back whose leases have ended without an outcome.
  local ended_leases
  ended_leases, states_of = due_in(ACTIVE)
  for index, state in ipairs(states_of) do
    local id, timeout = ended_leases[index], number(state, 68, 77)
    leave_place(id, state)
    if place_of(state) == 'r' then
      finish(id, state, 'x', counts_of(state), NO_TOKEN)
    elseif timeout > 0 and number(state, 42, 54) + timeout <= now then
      fail(id, state, NO_TOKEN, 'timed out')
    else
      local lost = math.min(number(state, 22, 25) + 1, 9999)
      local counts = string.sub(state, 18, 21) .. string.format('%04d', lost)
      tell('lost', id, 'w')
      local _, lost_max = string.match(string.sub(state, 100), '^(%d+),(%d+)')
      if lost >= tonumber(lost_max) then
        local cause = 'quarantined: its lease ended ' .. text(lost) .. ' times without an outcome'
        finish(id, state, 'k', counts, NO_TOKEN, cause)
      else
        wait(id, state, counts, NO_TOKEN, now)
      end
    end
  end
  if #ended_leases > 0 then
    redis.call('HINCRBY', META, 'lost', #ended_leases)
    save()
  end

  -- Has delayed jobs wait that are due.
  local delayed
  delayed, states_of = due_in(DELAYED)
  for index, state in ipairs(states_of) do
    leave(DELAYED, delayed[index])
    enter_waiting(delayed[index], state)
    set_state(delayed[index], 'w' .. string.sub(state, 2))
    tell('due', delayed[index], 'w')
    arrived = arrived + 1
  end
  if #delayed > 0 then
    save()
  end
  return #expired, #ended_leases, #delayed
end
