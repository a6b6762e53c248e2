-- Says that a worker is there, and forgets some that were silent for long.
--
-- KEYS[1]  workers by when they were last heard of    KEYS[2]  their records: started 13, longest silence 10, what they say
-- ARGV[1]  the worker
-- ARGV[2]  what it says
-- ARGV[3]  ms of silence after which it is dead
-- ARGV[4]  ms of silence after which it is forgotten
-- ARGV[5]  most workers
-- returns  when it started
local FORGET = 100

local now, forget = now_ms(), tonumber(ARGV[4])
local known = redis.call('HGET', KEYS[2], ARGV[1])
local started = known and string.sub(known, 1, 13) or string.format('%013d', now)
redis.call('HSET', KEYS[2], ARGV[1], started .. string.format('%010d', ARGV[3]) .. ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])

local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - forget, 'LIMIT', 0, FORGET)
if #gone == 0 then
  -- Those of the future were heard of before the clock was set back; who lives is heard of again.
  gone = redis.call('ZRANGEBYSCORE', KEYS[1], now + forget, '+inf', 'LIMIT', 0, FORGET)
end
local excess = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[5])
if #gone == 0 and excess > 0 then
  gone = redis.call('ZRANGE', KEYS[1], 0, math.min(excess, FORGET) - 1)
end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
  redis.call('HDEL', KEYS[2], unpack(gone))
end
redis.call('PEXPIRE', KEYS[1], forget)
redis.call('PEXPIRE', KEYS[2], forget)
return started
