-- Sliding log: exactly `limit` in any span of `window`. See decide.lua for KEYS, ARGV, returns.
--
-- State: sorted set with an element per ms in which something was admitted, scored by that ms. An element is
-- 'ms:before:units', where `before` is how many units were admitted before it. What lies between two elements is a
-- difference, so a request touches the same few elements whatever its cost: its work is logarithmic in their number.
local MODULUS = 2 ^ 52
-- How many elements that have left the window a request removes. It adds one at most, so they cannot pile up.
local PRUNE_STEP = 16

local function element(member)
  local at, before, units = string.match(member or '', '^(%d+):(%d+):(%d+)$')
  return at and {member = member, at = tonumber(at), before = tonumber(before), units = tonumber(units)}
end

-- Returns the units admitted from one element to another, both included.
local function units_between(first, last)
  return (last.before + last.units - first.before) % MODULUS
end

local now = now_ms()
local newest = element(redis.call('ZRANGE', STATE, -1, -1)[1])
if newest and newest.at - now > WINDOW then
  -- The clock went back by more than a window: what the log said before is void.
  newest = nil
end
-- A clock that went back a little stands still: times in the log never decrease.
local at = newest and math.max(now, newest.at) or now

local from = text(at - WINDOW)
local oldest = newest and element(redis.call('ZRANGEBYSCORE', STATE, '(' .. from, '+inf', 'LIMIT', 0, 1)[1])
local count = oldest and units_between(oldest, newest) or 0
local allowed = count + COST <= LIMIT + SLACK
local newest_at = newest and newest.at or now
if allowed and TAKE then
  local before, units = 0, COST
  if not newest then
    redis.call('UNLINK', STATE)
  elseif newest.at == at then
    before, units = newest.before, newest.units + COST
  else
    before = (newest.before + newest.units) % MODULUS
  end
  redis.call('ZADD', STATE, at, text(at) .. ':' .. text(before) .. ':' .. text(units))
  if newest and newest.at == at then
    redis.call('ZREM', STATE, newest.member)
  end
  local left = redis.call('ZCOUNT', STATE, '-inf', from)
  if left > 0 then
    redis.call('ZREMRANGEBYRANK', STATE, 0, math.min(left, PRUNE_STEP) - 1)
  end
  redis.call('PEXPIRE', STATE, at + WINDOW - now)
  count = count + COST
  newest_at = at
end

local retry_after = 0
if not allowed then
  -- The request fits once this many of the oldest have left the window: search for the element that completes them.
  local leaving = count + COST - LIMIT
  local low, high = redis.call('ZCOUNT', STATE, '-inf', from), redis.call('ZCARD', STATE) - 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if units_between(oldest, element(redis.call('ZRANGE', STATE, middle, middle)[1])) >= leaving then
      high = middle
    else
      low = middle + 1
    end
  end
  retry_after = element(redis.call('ZRANGE', STATE, low, low)[1]).at + WINDOW - now
end
return decision(allowed, LIMIT - count, count > 0 and newest_at + WINDOW or now, retry_after, now)
