-- Gives permits back and wakes who waits first.
--
-- KEYS[1..5]  state, queue, waiters, holders, notes
-- ARGV[1..2]  see permits.lua
-- returns     1 given back | 0 the caller holds nothing
if not redis.call('ZSCORE', KEYS[4], TOKEN) then
  return 0
end
remove_holder(TOKEN)
save(0)
if heir ~= NOBODY then
  redis.pcall('PUBLISH', KEYS[1], heir)
end
return 1
