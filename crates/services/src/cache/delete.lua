-- Deletes an entry and refuses the fill of a load in progress.
--
-- KEYS[1..5]  the partition
-- KEYS[6]     entry
-- KEYS[7]     lease
-- ARGV[1]     key as the caller names it
-- returns     1 if there was an entry, else 0
end_lease(KEYS[7])
local epoch = read_epoch()
local of_epoch = is_of(KEYS[6], epoch)
if of_epoch and going_with(ARGV[1], KEYS[6], epoch) then
  -- It is gone already; whoever invalidates its tag frees and counts it.
  return 0
end
forget(ARGV[1])
settle()
redis.call('UNLINK', KEYS[6])
return of_epoch and 1 or 0
