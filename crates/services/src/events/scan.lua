-- Looks for work in a partition.
--
-- KEYS[1]  due
-- KEYS[2]  ready
-- ARGV[1]  most names in each list
-- returns  {{consumers whose window is over}, {consumers with a trigger to deliver}}
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
return {
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1]),
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1]),
}
