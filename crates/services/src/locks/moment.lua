-- The store's clock, and the fences made from it.
--
-- A fence is the clock in microseconds, or one more than the last where that is not larger. mod.rs says why.
local time = redis.call('TIME')
local us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(us / 1000)

local function fence_after(last)
  return math.max(last + 1, us)
end
