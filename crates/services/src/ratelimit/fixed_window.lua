-- Fixed window: opened by the first request, it admits `limit` until it ends. See decide.lua for KEYS, ARGV, returns.
--
-- State: start (ms) and count, 16 digits each.
local now = now_ms()
local state = redis.call('GET', STATE)
local start, count = now, 0
if state then
  start, count = tonumber(string.sub(state, 1, 16)), tonumber(string.sub(state, 17, 32))
end
if start - now > WINDOW then
  -- The clock went back by more than a window: what it said before is void.
  start, count = now, 0
end
-- A clock that went back a little stands still until it has caught up.
local at = math.max(now, start)
if at - start >= WINDOW then
  start, count = at, 0
end

local allowed = count + COST <= LIMIT + SLACK
local ends = start + WINDOW
if allowed and TAKE then
  count = math.max(0, count + COST)
  redis.call('SET', STATE, string.format('%016d%016d', start, count), 'PX', ends - now)
end
return decision(allowed, LIMIT - count, count > 0 and ends or now, ends - now, now)
