-- Removes jobs of one place that nobody works on, without a trace: named ones, or the first ones.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2]      place: w d p c x o k
-- ARGV[3]      most jobs to remove, if none are named
-- ARGV[4...]   ids
-- returns      {how many were removed, how many are left}
local place, ids, count = ARGV[2], {}, tonumber(ARGV[3])
local key = PLACES[place]
local is_of_groups = place == 'w' and redis.call('HEXISTS', META, 'grouped') == 1
if #ARGV > 3 then
  for index = 4, #ARGV do
    ids[#ids + 1] = ARGV[index]
  end
else
  ids = redis.call('ZRANGE', key, 0, count - 1)
  for _, member in ipairs(is_of_groups and count > #ids and redis.call('ZRANGE', GROUPED, 0, count - #ids - 1) or {}) do
    ids[#ids + 1] = string.match(member, '^[^\1]*\1' .. string.rep('%d', 16) .. '(.*)$')
  end
end
local removed_ids = {}
for index, state in ipairs(read_many(STATES, ids)) do
  local id = ids[index]
  if state and place_of(state) == place and not removed_ids[id] then
    removed_ids[id] = true
    if LIVE[place] then
      freed = freed + number(state, 78, 86)
      withdraw(id, state)
      if group_of(state) then
        groups().count(-1)
      end
      tell_parent(id, place)
    else
      leave(key, id)
    end
    tell('removed', id, place)
    forgotten[#forgotten + 1], records_gone[#records_gone + 1] = id, id
  end
end
local count_removed = #forgotten
save()
return {count_removed, redis.call('ZCARD', key) + (is_of_groups and redis.call('ZCARD', GROUPED) or 0)}
