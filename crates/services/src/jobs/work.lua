-- Says what became of leased jobs, and leases the next ones.
--
-- KEYS[1..21]  see queue.lua
-- KEYS[22...]  where results go, one for each outcome that has one
-- ARGV[1]      see moves.lua
-- ARGV[2..3]   most jobs to lease, and for how long in ms
-- ARGV[4..5]   name under which the caller waits if there is nothing, or '', and for how long in ms
-- ARGV[6...]   for each outcome: id, token, then
--              'c' completed, result, ms that it is kept or ''  |  'f' failed, cause, ms until the next attempt or ''
--              'g' given up, cause, ''                          |  'r' released, '', ms until it may be leased
-- returns      {for each outcome the job's place, - if the lease was lost; ms until it is worth asking again if nothing is leased, 0 if
--              nothing is known; 1 if paused; {id, state, record, ...}}

-- What stands in a state where a job neither expires nor has a timeout.
local UNBOUNDED = string.rep('0', 23)

local count, rules = tonumber(ARGV[2]), nil
if count > 0 then
  rules = redis.call('HMGET', META, 'events_max', 'grouped', 'paused', 'active_max', 'interval_us', 'burst', 'tat_us', 'fence')
else
  rules = redis.call('HMGET', META, 'events_max', 'grouped')
end
events_max = rules[1]

local ids = {}
for index = 6, #ARGV, 5 do
  ids[#ids + 1] = ARGV[index]
end
local outcomes, current, results = {}, {}, KEYS_OF_ALL
for index, state in ipairs(read_many(STATES, ids)) do
  local id, at = ids[index], 1 + 5 * index
  local token, verb, what, ms = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  if verb == 'c' and ms ~= '' then
    results = results + 1
  end
  state = state or ''
  local place = current[id] or place_of(state)
  if state == '' or not is_leased_as(state, token) then
    outcomes[index] = '-'
  elseif place ~= 'a' and place ~= 'r' then
    -- The same outcome, sent again by who did not hear the answer.
    outcomes[index] = place
  else
    local counts, last = counts_of(state), token_of(state)
    leave_place(id, state)
    if verb == 'c' then
      if ms ~= '' then
        redis.call('SET', KEYS[results], last .. NOW .. what, 'PX', ms)
      end
      finish(id, state, 'c', counts, last)
      place = 'c'
    elseif place == 'r' then
      finish(id, state, 'x', counts, last)
      place = 'x'
    elseif verb == 'r' then
      local pause = tonumber(ms)
      wait(id, state, counts, last, now + pause)
      place = pause > 0 and 'd' or 'w'
      tell('released', id, place)
    else
      place = fail(id, state, last, what, tonumber(ms), verb == 'g')
    end
    outcomes[index], current[id] = place, place
  end
end
if #ids > 0 then
  save()
end

if count == 0 then
  -- Who waits while there are jobs waits for a place among the active.
  wake(math.max(arrived, work_for(#ids, rules[2])))
  return {table.concat(outcomes), 0, 0, {}}
end
move_due()
-- The queue's own bounds: how many may be active, and how fast jobs may be leased. The time at which the next could be leased if they came one by
-- one, tat, may be ahead of now by as many intervals as are allowed at once.
local leased, paused, rest_ms, is_grouped = {}, rules[3] and 1 or 0, 0, rules[2] and not (made and made.is_over)
local interval, burst, tat = tonumber(rules[5] or 0), tonumber(rules[6] or 0), tonumber(rules[7] or 0)
if paused == 1 then
  count = 0
end
if rules[4] then
  count = math.min(count, rules[4] - redis.call('ZCARD', ACTIVE))
end
if interval > 0 then
  local ahead = math.min(math.max(tat - now * 1000, 0), burst * interval)
  if tat > now * 1000 + ahead then
    -- It was further ahead than that: the rate was another, or the clock went back.
    redis.call('HSET', META, 'tat_us', now * 1000 + ahead)
  end
  tat = now * 1000 + ahead
  local allowed = math.floor(burst - ahead / interval)
  if allowed < 1 then
    rest_ms = math.ceil((ahead - (burst - 1) * interval) / 1000)
  end
  count = math.min(count, allowed)
end
if is_grouped then
  local has_walk, has_due = groups().walk(), groups().come_due()
  ids = count > 0 and groups().take(count) or {}
  if #ids == 0 then
    -- Some may have been found to rest.
    save()
  end
  if count > 0 and #ids == 0 and (has_walk or has_due or redis.call('ZCARD', RING) > 0) then
    -- There are more groups that may have to stand aside than one step looks at.
    rest_ms = 1
  end
else
  ids = count > 0 and redis.call('ZRANGE', WAITING, 0, count - 1) or {}
  if #ids > 0 then
    redis.call('ZREMRANGEBYRANK', WAITING, 0, #ids - 1)
  end
end
if #ids > 0 then
  local fence = math.max(tonumber(rules[8] or 0) + 1, now * 1000)
  redis.call('HSET', META, 'fence', fence)
  local lease, mark = tonumber(ARGV[3]), string.format('%016d', fence) .. NOW
  local lease_ends = text(now + lease)
  local records = read_many(RECORDS, ids)
  for index, state in ipairs(read_many(STATES, ids)) do
    local id, expires, ends = ids[index], 0, lease_ends
    if string.sub(state, 55, 77) ~= UNBOUNDED then
      expires = number(state, 55, 67)
      local timeout = number(state, 68, 77)
      ends = timeout > 0 and timeout < lease and now + timeout or lease_ends
    end
    if expires > 0 then
      leave(EXPIRY, id)
    end
    local group = is_grouped and group_of(state)
    if expires > 0 and expires <= now then
      finish(id, state, 'o', counts_of(state), NO_TOKEN)
      if group then
        groups().touch(group)
      end
    else
      if group then
        groups().hold(group, id)
      end
      state = 'a' .. string.sub(state, 2, 25) .. mark .. string.sub(state, 55)
      if events_max then
        tell('active', id, 'a', text(number(state, 18, 21) + number(state, 22, 25) + 1))
      end
      set_state(id, state)
      enter(ACTIVE, ends, id)
      leased[#leased + 1] = id
      leased[#leased + 1] = state
      leased[#leased + 1] = records[index]
    end
  end
  save()
  if interval > 0 then
    redis.call('HSET', META, 'tat_us', tat + #leased / 3 * interval)
  end
end

if #leased > 0 and ARGV[4] ~= '' then
  redis.call('ZREM', WAITERS, ARGV[4])
end
if paused == 0 and (#leased > 0 or ARGV[4] == '') then
  -- Who finds work and leaves some, or knows of some that will be due, wakes the next.
  wake(arrived > 0 and 1 or is_grouped and work_for(1, true) or math.min(1, redis.call('ZCARD', WAITING)))
end
if #leased > 0 then
  return {table.concat(outcomes), 0, 0, leased}
end
if ARGV[4] ~= '' then
  redis.call('ZADD', WAITERS, now + tonumber(ARGV[5]), ARGV[4])
  redis.call('PEXPIRE', WAITERS, ARGV[5])
end
local next_ms = rest_ms
local due_ms = is_grouped and groups().ms_to_due()
if due_ms then
  next_ms = next_ms == 0 and due_ms or math.min(next_ms, due_ms)
end
for _, key in ipairs({DELAYED, ACTIVE}) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first then
    local left = math.max(1, tonumber(first) - now)
    next_ms = next_ms == 0 and left or math.min(next_ms, left)
  end
end
return {table.concat(outcomes), next_ms, paused, leased}
