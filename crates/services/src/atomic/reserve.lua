-- Reserves units, all or none. See inventory.lua for KEYS, ARGV[1] and what is returned.
--
-- ARGV[2]  id of the reservation
-- ARGV[3]  units
-- ARGV[4]  lifetime of the reservation in ms
-- ARGV[5]  most reservations that are known at a time
-- returns  'done' or 'again' and when it ends; 'refused' and 1 if there is more to clear that may make room; 'other',
--          'committed', 'released', 'expired', 'full', 'missing'
local more = clear_due()
if redis.call('HEXISTS', KEYS[1], 'total') == 0 then
  return answer('missing')
end
local id, units = ARGV[2], tonumber(ARGV[3])
local state, reserved = reservation(id)
if state == 'h' then
  local ends = tonumber(redis.call('ZSCORE', KEYS[2], id))
  if ends <= NOW then
    expire(id, tonumber(reserved))
    return answer('expired')
  end
  return answer(tonumber(reserved) == units and 'again' or 'other', ends)
elseif state then
  return answer(({c = 'committed', r = 'released', x = 'expired'})[state])
end
if units > units_of('total') - units_of('held') - units_of('used') then
  return answer('refused', more and 1 or 0)
elseif redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then
  return answer('full')
end
local ends = NOW + tonumber(ARGV[4])
change('held', units)
redis.call('HSET', KEYS[1], 'r' .. id, 'h:' .. text(units))
redis.call('ZADD', KEYS[2], text(ends), id)
return answer('done', ends)
