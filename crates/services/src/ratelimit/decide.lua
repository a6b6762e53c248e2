-- What an algorithm of the rate limiter is given as a step of its own; `several.lua` makes functions of them instead.
--
-- KEYS[1]  its state
-- ARGV[1]  limit
-- ARGV[2]  window in ms
-- ARGV[3]  cost, at least 1 and at most the capacity
-- ARGV[4]  'take' or 'peek'; peeking changes nothing
-- ARGV[5]  burst (token bucket only)
-- and returns {allowed (1 or 0), remaining, reset_at_ms, retry_after_ms, now_ms}
--
-- An algorithm's file says what it does with COST units in terms of these names. It admits up to LIMIT + SLACK units
-- (or BURST + SLACK), and believes what it finds up to DEBT units above: only charging after the fact goes there. It
-- takes a negative COST as units given back, which is never more than were used.
--
-- All numbers are integers below 2^53, so Lua's doubles are exact.
local STATE = KEYS[1]
local LIMIT, WINDOW, COST = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local BURST = tonumber(ARGV[5])
local TAKE, DEBT, SLACK = ARGV[4] == 'take', 0, 0

local function decision(allowed, remaining, reset_at, retry_after, now)
  return {allowed and 1 or 0, math.max(0, remaining), reset_at, allowed and 0 or math.max(1, retry_after), now}
end
