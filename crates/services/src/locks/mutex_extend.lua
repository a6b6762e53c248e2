-- Begins the lease of the holder anew. A lease that has ended is not revived.
--
-- KEYS[1]     state
-- ARGV[1..2]  see mutex.lua
-- ARGV[3]     lease in ms, from now
-- returns     1 extended, 0 the caller does not hold it
if token ~= TOKEN or ends <= now then
  return 0
end
ends = now + tonumber(ARGV[3])
save(tonumber(ARGV[3]))
return 1
