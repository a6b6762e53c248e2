-- Takes a mutex if it is free and nobody is before the caller; otherwise the caller may wait in the queue.
--
-- KEYS[1..3]  state, queue, waiters
-- ARGV[1..2]  see mutex.lua
-- ARGV[3]     owner, for people to read
-- ARGV[4]     lease in ms
-- ARGV[5]     lease of a waiter in ms; 0 not to wait
-- returns     {1, fence} taken, or held by the caller already, whose lease begins anew | {0, ms after which to come again, how many are ahead}
if PATIENCE > 0 then
  join_queue(PATIENCE, OWNER)
end
bury_ahead()
if ends <= now and count_ahead() == 0 then
  leave_queue()
  fence, ends, since, token, owner = fence_after(fence), now + LEASE, now, TOKEN, OWNER
  heir = first_in_queue()
  save(LEASE)
  return {1, fence}
end

local first = first_in_queue()
if first ~= heir then
  heir = first
  save(math.max(0, ends - now))
  if ends <= now and heir ~= TOKEN and heir ~= NOBODY then
    redis.pcall('PUBLISH', KEYS[1], heir)
  end
end
local place = count_ahead()
local turn = place == 0 and ends or end_of_lease_ahead(place)
return {0, math.max(1, turn - now), place}
