-- Forgets a stopped consumer and all that belongs to it.
--
-- KEYS[1..25]  the consumer
-- KEYS[26]     names
-- KEYS[27..]   whatever else is the consumer's own
-- returns      triggers that were waiting | 'absent' | 'running'
local def = definition()
if not def then
  return 'absent'
end
if def.state == 'running' then
  return 'running'
end
local left = waiting()
redis.call('ZREM', DUE, NAME)
redis.call('ZREM', READY, NAME)
redis.call('ZREM', KEYS[26], NAME)
redis.call('UNLINK', CONSUMER, WINDOW, unpack(KEYS, 1, 21))
redis.call('UNLINK', unpack(KEYS, 27))
return left
