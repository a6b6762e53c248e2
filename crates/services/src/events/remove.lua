-- Forgets a stopped consumer and all that belongs to it.
--
-- KEYS[1..6]  the consumer
-- KEYS[7]     names
-- KEYS[8..]   whatever else is the consumer's own
-- returns     triggers that were waiting | 'absent' | 'running'
local def = definition()
if not def then
  return 'absent'
end
if def.state == 'running' then
  return 'running'
end
local waiting = redis.call('ZCARD', OUTBOX)
redis.call('ZREM', DUE, NAME)
redis.call('ZREM', READY, NAME)
redis.call('ZREM', KEYS[7], NAME)
redis.call('UNLINK', CONSUMER, WINDOW, OUTBOX, TRIGGERS, unpack(KEYS, 8))
return waiting
