-- Makes all entries of a partition cease to exist at once, and keeps the list of them for reclaiming.
--
-- KEYS[1..5]  the partition
-- KEYS[6]     retired: sorted set of keys whose entries await reclaiming
-- returns     1; 0 if an earlier clearing was interrupted or is still going on: its list must be reclaimed first,
--             since joining two lists would take as long as they are
stamp(':', now_ms())
if redis.call('EXISTS', KEYS[6]) == 1 then
  return 0
end
open()
if redis.call('EXISTS', EXPIRY) == 1 then
  redis.call('RENAME', EXPIRY, KEYS[6])
end
begin_epoch()
return 1
