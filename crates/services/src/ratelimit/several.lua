-- The algorithms as functions, for steps that ask several limits at one moment. Their files are the bodies, and stand
-- between the lines that follow this one; see decide.lua for the names they are written in.
--
-- Each returns {allowed, free: units left, negative in debt, reset_at ms, retry_after ms}.
local NOW = now_ms()
local function now_ms()
  return NOW
end

local function decision(allowed, free, reset_at, retry_after)
  return {allowed = allowed, free = free, reset_at = reset_at, retry_after = allowed and 0 or math.max(1, retry_after)}
end
