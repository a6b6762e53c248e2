-- Makes all entries of a partition cease to exist at once, and keeps the list of them for reclaiming.
--
-- KEYS[1..5]  the partition
-- KEYS[6]     retired: sorted set of keys whose entries await reclaiming
-- returns     1
stamp(':', now_ms())
open()
if redis.call('EXISTS', EXPIRY) == 1 then
  local ends = redis.call('PEXPIRETIME', EXPIRY)
  if redis.call('EXISTS', KEYS[6]) == 1 then
    -- An earlier clearing was interrupted or is still going on: this one takes over its list.
    local earlier = redis.call('PEXPIRETIME', KEYS[6])
    ends = (ends == -1 or earlier == -1) and -1 or math.max(ends, earlier)
    redis.call('ZUNIONSTORE', KEYS[6], 2, KEYS[6], EXPIRY, 'AGGREGATE', 'MAX')
  else
    redis.call('RENAME', EXPIRY, KEYS[6])
  end
  if ends ~= -1 then
    redis.call('PEXPIREAT', KEYS[6], text(ends))
  end
end
begin_epoch()
return 1
