-- Draws a number of a sequence without gaps: one that was given back or whose lease has ended, or else the next.
--
-- KEYS[1]  state: hash of last, 'n<number>' to its holder and 'i<holder>' to its number
-- KEYS[2]  numbers drawn and not confirmed, by when their lease ends
-- KEYS[3]  record of the holder's confirmation
-- ARGV[1]  holder
-- ARGV[2]  length of the lease in ms
-- ARGV[3]  most numbers that may be drawn and not confirmed
-- returns  {'done', number} | {'again', number}, the lease beginning anew | {'settled', number} | {'full', ''}
local now = now_ms()
local ends = text(now + tonumber(ARGV[2]))
local confirmed = redis.call('GET', KEYS[3])
if confirmed then
  return {'settled', confirmed}
end
local number = redis.call('HGET', KEYS[1], 'i' .. ARGV[1])
if number then
  redis.call('ZADD', KEYS[2], ends, number)
  return {'again', number}
end
number = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text(now), 'LIMIT', 0, 1)[1]
if number then
  local former = redis.call('HGET', KEYS[1], 'n' .. number)
  if former then
    redis.call('HDEL', KEYS[1], 'i' .. former)
  end
elseif redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then
  return {'full', ''}
else
  number = text(redis.call('HINCRBY', KEYS[1], 'last', 1))
end
redis.call('HSET', KEYS[1], 'n' .. number, ARGV[1], 'i' .. ARGV[1], number)
redis.call('ZADD', KEYS[2], ends, number)
return {'done', number}
