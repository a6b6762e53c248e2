-- Sliding counter: two buckets, the earlier one weighted by what of it the window still covers. See decide.lua for
-- KEYS, ARGV, returns.
--
-- State: window (ms), bucket (number of the current one), current and previous (counts), 16 digits each.
-- Usage is kept multiplied by the window, which makes it an integer.
local now = now_ms()
local state = redis.call('GET', STATE)
local bucket = math.floor(now / WINDOW)
local elapsed = now - bucket * WINDOW
local current, previous = 0, 0
if state then
  local window, last = tonumber(string.sub(state, 1, 16)), tonumber(string.sub(state, 17, 32))
  current, previous = tonumber(string.sub(state, 33, 48)), tonumber(string.sub(state, 49, 64))
  if window ~= WINDOW then
    -- The window was reconfigured: what counts now is carried over as used in the current bucket.
    local passed = math.floor(now / window) - last
    local part = math.max(0, now - math.floor(now / window) * window)
    if passed == 1 then
      current, previous = 0, current
    elseif passed > 1 then
      current, previous = 0, 0
    end
    current = math.ceil((previous * (window - part) + current * window) / window)
    previous = 0
  elseif last == bucket + 1 then
    -- The clock went back a little: it stands still at the beginning of the bucket already begun.
    bucket, elapsed = last, 0
  elseif last == bucket - 1 then
    current, previous = 0, current
  elseif last ~= bucket then
    -- Long ago, or of a clock that has gone back by more than a window.
    current, previous = 0, 0
  end
end
local at = bucket * WINDOW + elapsed

local capacity = LIMIT * WINDOW
local used = previous * (WINDOW - elapsed) + current * WINDOW
local allowed = used + COST * WINDOW <= capacity + SLACK * WINDOW
if allowed and TAKE then
  current = current + COST
  if current < 0 then
    current, previous = 0, math.max(0, previous + current)
  end
  used = previous * (WINDOW - elapsed) + current * WINDOW
  redis.call('SET', STATE, string.format('%016d%016d%016d%016d', WINDOW, bucket, current, previous),
    'PX', at + 2 * WINDOW - elapsed - now)
end

local reset_at = now
if current > 0 then
  reset_at = at + 2 * WINDOW - elapsed
elseif used > 0 then
  reset_at = at + WINDOW - elapsed
end

local retry_after = 0
if not allowed then
  local room = capacity - (current + COST) * WINDOW
  if room >= 0 then
    -- The earlier bucket must fade.
    retry_after = math.ceil((used + COST * WINDOW - capacity) / previous)
  else
    -- The current bucket must become the earlier one, then fade.
    local fade = current * WINDOW - (LIMIT - COST) * WINDOW
    retry_after = WINDOW - elapsed + math.max(0, math.ceil(fade / current))
  end
end
return decision(allowed, math.floor((capacity - used) / WINDOW), reset_at, retry_after + at - now, now)
