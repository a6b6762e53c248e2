-- Adds to the score of a member of a sorted set, unless the sum would no longer be exact.
--
-- KEYS[1]  the sorted set
-- ARGV[1]  member
-- ARGV[2]  amount
-- ARGV[3]  largest score that is exact
-- returns  {1, score} | {0, score as it is}
local before = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
local sum = before + tonumber(ARGV[2])
if math.abs(sum) > tonumber(ARGV[3]) then
  return {0, text(before)}
end
redis.call('ZADD', KEYS[1], text(sum), ARGV[1])
return {1, text(sum)}
