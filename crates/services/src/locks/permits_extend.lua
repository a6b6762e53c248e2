-- Begins the lease of a holder anew. A lease that has ended is not revived.
--
-- KEYS[1..5]  state, queue, waiters, holders, notes
-- ARGV[1..2]  see permits.lua
-- ARGV[3]     lease in ms, from now
-- returns     1 extended, 0 the caller holds nothing
local LEASE = tonumber(ARGV[3])
if tonumber(redis.call('ZSCORE', KEYS[4], TOKEN) or 0) <= now then
  return 0
end
redis.call('ZADD', KEYS[4], now + LEASE, TOKEN)
keep_holders(LEASE)
save(LEASE)
return 1
