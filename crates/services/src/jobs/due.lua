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

-- Moves what is due, a bounded number of each kind. Returns how many have expired, were taken back and have come due.
local function move_due()
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
      tell('due', ids[index], 'w')
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

  return expire(), take_back(), promote()
end
