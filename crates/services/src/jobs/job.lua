-- Looks at one job.
--
-- KEYS[1..21]  see queue.lua
-- KEYS[22]     its result
-- ARGV[1]      id
-- returns      {state, record, progress, what went wrong last, result, how many are ahead (of its group, if it has one), when it is due or its lease ends}, nil for what there
--              is not
local id = ARGV[1]
local state = redis.call('HGET', STATES, id)
local notes = redis.call('HMGET', NOTES, 'p' .. id, 'e' .. id)
local place, ahead, moment = state and place_of(state), false, false
if place == 'w' then
  local group = group_of(state)
  if group then
    ahead = groups().ahead_of(group, id, state)
  else
    ahead = redis.call('ZRANK', WAITING, id)
  end
elseif place then
  moment = redis.call('ZSCORE', PLACES[place], id)
end
return {state, redis.call('HGET', RECORDS, id), notes[1], notes[2], redis.call('GET', KEYS[KEYS_OF_ALL + 1]), ahead, moment}
