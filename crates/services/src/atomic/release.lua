-- Gives back what was reserved. See inventory.lua for KEYS, ARGV[1] and what is returned.
--
-- ARGV[2]  id of the reservation
-- returns  'done' or 'again', also for what had expired, and the units; 'committed', 'missing'
local id = ARGV[2]
local state, reserved = reservation(id)
if not state then
  return answer('missing')
end
reserved = tonumber(reserved)
if state == 'h' then
  change('held', -reserved)
  settle(id, 'r', reserved)
  clear_due()
  return answer('done', reserved)
end
return answer(state == 'c' and 'committed' or 'again', reserved)
