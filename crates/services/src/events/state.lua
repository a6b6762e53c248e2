-- Starts or stops a consumer.
--
-- KEYS[1]  consumer
-- ARGV[1]  'running' or 'stopped'
-- returns  the state before, false if there is no such consumer
local state = redis.call('HGET', KEYS[1], 'state')
if state and state ~= ARGV[1] then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('HSET', KEYS[1], 'state', ARGV[1], 'changed_ms', string.format('%.0f', now))
end
return state
