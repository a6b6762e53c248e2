-- Takes permits if there are enough and nobody is before the caller; otherwise the caller may wait in the queue.
--
-- KEYS[1..5]  state, queue, waiters, holders, notes
-- ARGV[1..2]  see permits.lua
-- ARGV[3]     owner, for people to read
-- ARGV[4]     lease in ms
-- ARGV[5]     lease of a waiter in ms; 0 not to wait
-- ARGV[6]     permits wanted
-- ARGV[7]     permits there are
-- returns     {1, fence} taken, or held by the caller already, whose lease begins anew | {0, ms after which to come again, how many are ahead}
local OWNER, LEASE, PATIENCE = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local WANTED, CAPACITY = tonumber(ARGV[6]), tonumber(ARGV[7])

local used_before = used
remove_ended()
local held_until = tonumber(redis.call('ZSCORE', KEYS[4], TOKEN) or 0)
if held_until > now then
  redis.call('ZADD', KEYS[4], now + LEASE, TOKEN)
  keep_holders(LEASE)
  save(LEASE)
  return {1, tonumber(string.sub(redis.call('HGET', KEYS[5], TOKEN) or '0', 1, 16))}
end
if held_until > 0 then
  remove_holder(TOKEN)
end

local may_take = used + WANTED <= CAPACITY
if heir ~= NOBODY or not may_take then
  if PATIENCE > 0 then
    join_queue(PATIENCE, OWNER)
  end
  bury_ahead()
  may_take = may_take and count_ahead() == 0
  if may_take then
    leave_queue()
  end
end
local heir_before = heir
if may_take then
  fence, used = fence_after(fence), used + WANTED
  redis.call('ZADD', KEYS[4], now + LEASE, TOKEN)
  redis.call('HSET', KEYS[5], TOKEN, string.format('%016d;%016d;%016d;', fence, now, WANTED) .. OWNER)
  keep_holders(LEASE)
end
if heir ~= NOBODY or not may_take then
  heir = first_in_queue()
end
if may_take or heir ~= heir_before or used ~= used_before then
  save(may_take and LEASE or 0)
end
-- Whoever is first now may find enough left, and does not know yet.
if (heir ~= heir_before or used < used_before) and used < CAPACITY and heir ~= TOKEN and heir ~= NOBODY then
  redis.pcall('PUBLISH', KEYS[1], heir)
end
if may_take then
  return {1, fence}
end
local place = count_ahead()
local turn = place == 0 and end_of_first() or end_of_lease_ahead(place)
return {0, math.max(1, turn - now), place}
