-- Moves what is due: ends what has waited for too long, takes back ended leases, has delayed jobs wait, forgets old ended jobs.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      see moves.lua
-- returns      {expired, taken back, come due}
local done = {move_due()}
for place in pairs(TOTALS) do
  trim(place, SWEEP, true)
end
local is_grouped = redis.call('HEXISTS', META, 'grouped') == 1
if is_grouped then
  groups().walk()
  groups().come_due()
end
if redis.call('HEXISTS', META, 'paused') == 0 then
  -- Who was taken back and ended made room for others of its group, and groups have come due.
  wake(is_grouped and math.max(arrived, work_for(WAKE, true)) or arrived)
end
return done
