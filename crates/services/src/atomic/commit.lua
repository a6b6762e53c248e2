-- Uses what was reserved, or a part of it and gives the rest back. See inventory.lua for KEYS, ARGV[1] and what is
-- returned.
--
-- ARGV[2]  id of the reservation
-- ARGV[3]  units used, '' for all
-- returns  'done' or 'again' and the units used; 'excess', 'other', 'released', 'expired', 'missing'
local id = ARGV[2]
local state, reserved = reservation(id)
if not state then
  return answer('missing')
end
reserved = tonumber(reserved)
local units = tonumber(ARGV[3]) or reserved
if state == 'h' and tonumber(redis.call('ZSCORE', KEYS[2], id)) <= NOW then
  expire(id, reserved)
  state = 'x'
end
if state == 'c' then
  return answer((ARGV[3] == '' or units == reserved) and 'again' or 'other', reserved)
elseif state ~= 'h' then
  return answer(state == 'r' and 'released' or 'expired')
elseif units > reserved then
  return answer('excess', reserved)
end
change('held', -reserved)
change('used', units)
settle(id, 'c', units)
clear_due()
return answer('done', units)
