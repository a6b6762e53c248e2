-- Moves what is due: ends what has waited for too long, takes back ended leases, has delayed jobs wait, forgets old ended jobs.
--
-- KEYS[1..15]  see queue.lua
-- ARGV[1]      see moves.lua
-- returns      {expired, taken back, come due}
local done = {expire(), take_back(), promote()}
for place in pairs(TOTALS) do
  trim(place, SWEEP)
end
if redis.call('HEXISTS', META, 'paused') == 0 then
  wake(arrived)
end
return done
