-- Decides who loads: takes the lease of a key, unless its value is there or another caller holds the lease.
--
-- KEYS[1..5]  the partition
-- KEYS[6]     entry
-- KEYS[7]     lease
-- ARGV[1]     unique text of this attempt
-- ARGV[2]     length of the lease in ms
-- ARGV[3]     remaining lifetime in ms of the value the caller wants replaced, -2 if it saw none or one that is kept
--             for fail-safe only
-- ARGV[4]     key as the caller names it
-- returns     {'hit', value, remaining ms} | {'lead', token} | {'wait', remaining ms of the lease}
if is_live(ARGV[4], KEYS[6], read_epoch()) then
  local remaining = redis.call('PTTL', KEYS[6])
  -- A longer lifetime than the one seen means that somebody has refreshed it meanwhile.
  local seen = tonumber(ARGV[3])
  if seen == -2 then
    -- What is kept for fail-safe is not there for those who would load.
    seen = tonumber(string.match(redis.call('GETRANGE', KEYS[6], 0, 255), '^1;%a+;[^;]*;%d+;%d+;(%d+)') or 0)
  end
  if remaining == -1 or remaining > seen then
    return {'hit', redis.call('GET', KEYS[6]), remaining}
  end
end
local token = text(next_stamp(now_ms())) .. ':' .. ARGV[1]
if redis.call('SET', KEYS[7], token, 'NX', 'PX', ARGV[2]) then
  return {'lead', token}
end
return {'wait', redis.call('PTTL', KEYS[7])}
