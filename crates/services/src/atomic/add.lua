-- Adds to an integer of 64 bits, unless that would take it over a bound. A double is exact to 2^53 only, so sums are
-- made of two parts, {high, low} with low below BASE; the store itself does the addition.
--
-- KEYS[1]  the integer, a string
-- KEYS[2]  record of the request, if there is a fingerprint
-- ARGV[1]  amount
-- ARGV[2]  floor
-- ARGV[3]  ceiling
-- ARGV[4]  lifetime in ms if this creates it, 0 for never
-- ARGV[5]  fingerprint of the request, or ''
-- ARGV[6]  how long the request is known, in ms
-- returns  {'done', value} | {'again', value then} | {'refused', value, '' if there is none} | {'other', ''}
local BASE = 10000000000

local function normal(high, low)
  local carry = math.floor(low / BASE)
  return {high + carry, low - carry * BASE}
end

local function wide(digits)
  local sign, number = string.match(digits, '^(-?)(%d+)$')
  if not number then
    return nil
  end
  local high, low = tonumber(string.sub(number, 1, -11)) or 0, tonumber(string.sub(number, -10))
  if sign == '-' then
    high, low = -high, -low
  end
  return normal(high, low)
end

local function below(left, right)
  return left[1] < right[1] or left[1] == right[1] and left[2] < right[2]
end

local known = recall(KEYS[2], ARGV[5])
if known then
  return known
end
local before = redis.call('GET', KEYS[1])
local now, amount = wide(before or '0'), wide(ARGV[1])
if not now then
  return redis.error_reply('ERR the counter holds no integer')
end
local sum = normal(now[1] + amount[1], now[2] + amount[2])
if below(sum, wide(ARGV[2])) or below(wide(ARGV[3]), sum) then
  return {'refused', before or ''}
end
redis.call('INCRBY', KEYS[1], ARGV[1])
if not before and ARGV[4] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
-- Read as text: the reply to INCRBY would come as a double.
local after = redis.call('GET', KEYS[1])
keep(KEYS[2], ARGV[5], ARGV[6], after)
return {'done', after}
