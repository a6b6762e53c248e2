-- Tells how an inventory stands, after clearing. See inventory.lua for KEYS, ARGV[1] and what is returned.
--
-- returns  'done' and 1 if there is more to clear | 'missing'
local more = clear_due()
if redis.call('HEXISTS', KEYS[1], 'total') == 0 then
  return answer('missing')
end
return answer('done', more and 1 or 0)
