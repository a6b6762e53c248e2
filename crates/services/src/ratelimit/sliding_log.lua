-- Sliding log: exactly `limit` in any span of `window`. See decide.lua for KEYS, ARGV, returns.
--
-- State: sorted set with an element per unit admitted, scored by its ms. An element is 'ms:number'; numbers start at 0
-- in each ms and have ten digits, so elements differ and the last one is the newest.
local now = now_ms()
local newest = redis.call('ZRANGE', STATE, -1, -1, 'WITHSCORES')
local number = 0
local at = now
if newest[2] and tonumber(newest[2]) - now > WINDOW then
  -- The clock went back by more than a window: what it said before is void.
  redis.call('UNLINK', STATE)
  newest = {}
end
if newest[2] then
  local last = tonumber(newest[2])
  if last >= now then
    -- The same ms, or a clock that went back a little: times in the log never decrease.
    at = last
    number = tonumber(string.match(newest[1], ':(%d+)$')) + 1
  end
end

local from = text(at - WINDOW)
local count = redis.call('ZCOUNT', STATE, '(' .. from, '+inf')
local allowed = count + COST <= LIMIT
local newest_at = newest[2] and tonumber(newest[2]) or now
if allowed and TAKE then
  redis.call('ZREMRANGEBYSCORE', STATE, '-inf', from)
  for index = 0, COST - 1 do
    redis.call('ZADD', STATE, text(at), text(at) .. ':' .. string.format('%010d', number + index))
  end
  redis.call('PEXPIRE', STATE, text(at + WINDOW - now))
  count = count + COST
  newest_at = at
end

local retry_after = 0
if not allowed then
  -- The request fits once this many of the oldest have left the window.
  local leaving = count + COST - LIMIT
  local last_to_leave = redis.call('ZRANGEBYSCORE', STATE, '(' .. from, '+inf', 'WITHSCORES', 'LIMIT', leaving - 1, 1)
  retry_after = tonumber(last_to_leave[2]) + WINDOW - now
end
return decision(allowed, LIMIT - count, count > 0 and newest_at + WINDOW or now, retry_after, now)
