-- Begins leases anew, from now.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2]      length of the lease in ms
-- ARGV[3...]   for each job: id, token, progress or '', or '!' if its run has not begun: then its timeout begins anew
-- returns      for each job a extended, r extended and to be cancelled, - the lease was lost
local ids = {}
for index = 3, #ARGV, 3 do
  ids[#ids + 1] = ARGV[index]
end
local replies = {}
for index, state in ipairs(read_many(STATES, ids)) do
  local id, token, progress = ids[index], ARGV[3 * index + 1], ARGV[3 * index + 2]
  local place = state and place_of(state)
  if PLACES[place or ''] == ACTIVE and is_leased_as(state, token) then
    local ends, timeout = now + tonumber(ARGV[2]), number(state, 68, 77)
    if timeout > 0 and progress == '!' then
      set_state(id, string.sub(state, 1, 41) .. string.format('%013d', now) .. string.sub(state, 55))
      ends = math.min(ends, now + timeout)
    elseif timeout > 0 then
      ends = math.min(ends, number(state, 42, 54) + timeout)
    end
    enter(ACTIVE, ends, id)
    if progress ~= '' and progress ~= '!' then
      notes[#notes + 1] = 'p' .. id
      notes[#notes + 1] = progress
      tell('progress', id, place, progress)
    end
    replies[index] = place
  else
    replies[index] = '-'
  end
end
save()
return table.concat(replies)
