-- Deletes an entry and refuses the fill of a load in progress.
--
-- KEYS[1..5]  the partition
-- KEYS[6]     entry
-- KEYS[7]     lease
-- ARGV[1]     key as the caller names it
-- returns     1 if there was an entry, else 0
local live = is_live(KEYS[6], redis.call('GET', EPOCH))
forget(ARGV[1])
settle()
redis.call('UNLINK', KEYS[6])
redis.call('DEL', KEYS[7])
return live and 1 or 0
