-- Cancels jobs: those that wait at once, those that are worked on as soon as their holder gives a sign of life.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2...]   ids
-- returns      for each id the job's place: x cancelled, r its holder is told, c o k it had ended, - there is none
local ids, replies, seen, told = {}, {}, {}, false
for index = 2, #ARGV do
  ids[#ids + 1] = ARGV[index]
end
for index, state in ipairs(read_many(STATES, ids)) do
  local id = ids[index]
  local place = seen[id] or (state and place_of(state)) or '-'
  if place == 'w' or place == 'd' or place == 'p' then
    withdraw(id, state)
    finish(id, state, 'x', counts_of(state), NO_TOKEN)
    place = 'x'
  elseif place == 'a' then
    place, told = 'r', true
    set_state(id, 'r' .. string.sub(state, 2))
    tell('cancelling', id, 'r')
  end
  replies[index], seen[id] = place, place
end
save()
if told then
  -- A hint, as in `wake`: workers that do not hear it are told at their next heartbeat.
  redis.pcall('PUBLISH', META, 'cancel')
end
return table.concat(replies)
