-- Has dead triggers wait again as if never tried, the oldest first, as many as there is room for.
--
-- KEYS[1..25]  the consumer
-- ARGV[3]      most triggers that wait
-- ARGV[4]      most triggers
-- ARGV[5]      a trigger's id; absent for the oldest
-- returns      how many there were, false if there is no such consumer
local def = definition()
if not def then
  return false
end
local room, revived = tonumber(ARGV[3]) - waiting(), {}
local ids = ARGV[5] and {ARGV[5]} or redis.call('ZRANGE', PLACES.k, 0, tonumber(ARGV[4]) - 1)
for index, state in ipairs(read_many(STATES, ids)) do
  if #revived < room and state and place_of(state) == 'k' then
    revive(ids[index], state)
    revived[#revived + 1] = ids[index]
  end
end
save()
drop_notes(revived, {'e'})
wake(arrived)
index_queue(def)
return #revived
