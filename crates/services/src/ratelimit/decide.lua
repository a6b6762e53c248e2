-- Shared by the algorithms of the rate limiter.
--
-- Every algorithm is given
-- KEYS[1]  its state
-- ARGV[1]  limit
-- ARGV[2]  window in ms
-- ARGV[3]  cost, at least 1 and at most the capacity
-- ARGV[4]  'take' or 'peek'; peeking changes nothing
-- ARGV[5]  burst (token bucket only)
-- and returns {allowed (1 or 0), remaining, reset_at_ms, retry_after_ms, now_ms}
--
-- All numbers are integers below 2^53, so Lua's doubles are exact.
local STATE = KEYS[1]
local LIMIT, WINDOW, COST = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local TAKE = ARGV[4] == 'take'

local function decision(allowed, remaining, reset_at, retry_after, now)
  return {allowed and 1 or 0, math.max(0, remaining), reset_at, allowed and 0 or math.max(1, retry_after), now}
end
