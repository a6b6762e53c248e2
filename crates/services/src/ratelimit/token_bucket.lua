-- Token bucket, which is GCRA: `burst` at once, `limit` per `window` in the long run. See decide.lua for KEYS, ARGV,
-- returns.
--
-- State: window (ms), level (what is used, multiplied by the window) and at (ms of the last change), 16 digits each. The level
-- drains by `limit` each ms; a unit weighs `window`. Integers throughout: nothing drifts.
local now = now_ms()
local state = redis.call('GET', STATE)
local capacity = BURST * WINDOW
local level, at = 0, now
if state then
  local window, last = tonumber(string.sub(state, 1, 16)), tonumber(string.sub(state, 33, 48))
  level = tonumber(string.sub(state, 17, 32))
  if last - now > WINDOW then
    -- The clock went back by more than a window: what it said before is void.
    level, last = 0, now
  end
  -- A clock that went back a little stands still until it has caught up.
  at = math.max(now, last)
  if window ~= WINDOW then
    -- The window was reconfigured: the units used stay used.
    level = math.ceil(level / window * WINDOW)
  end
  -- Never fuller than full, so that a lowered burst does not lock anyone out for longer than it takes to drain.
  level = math.min(capacity + DEBT * WINDOW, math.max(0, level - (at - last) * LIMIT))
end

local allowed = level + COST * WINDOW <= capacity + SLACK * WINDOW
if allowed and TAKE then
  level = math.max(0, level + COST * WINDOW)
  local lifetime = math.max(1, math.ceil(level / LIMIT) + at - now)
  redis.call('SET', STATE, string.format('%016d%016d%016d', WINDOW, level, at), 'PX', lifetime)
end

local retry_after = 0
if not allowed then
  retry_after = math.ceil((level + COST * WINDOW - capacity) / LIMIT) + at - now
end
return decision(allowed, math.floor((capacity - level) / WINDOW), at + math.ceil(level / LIMIT), retry_after, now)
