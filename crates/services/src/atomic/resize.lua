-- Says how many units there are in all. See inventory.lua for KEYS, ARGV[1] and what is returned.
--
-- ARGV[2]  'set' or 'add'; only what is set is made if it is not there
-- ARGV[3]  units, negative ones to take some away
-- ARGV[4]  most units
-- returns  'done' | 'refused', further 1 if there is more to clear that may make room | 'missing'
local more = clear_due()
local total = tonumber(ARGV[3])
if ARGV[2] == 'add' then
  if redis.call('HEXISTS', KEYS[1], 'total') == 0 then
    return answer('missing')
  end
  total = total + units_of('total')
end
if total < units_of('held') + units_of('used') or total > tonumber(ARGV[4]) then
  return answer('refused', more and 1 or 0)
end
redis.call('HSET', KEYS[1], 'total', text(total))
return answer('done')
