-- Defines a consumer, or defines it anew: it runs afterwards.
--
-- KEYS[1..6]  the consumer
-- KEYS[7]     names  sorted set of the partition, all scores 0: every consumer
-- ARGV[2]     unique text for a new consumer
-- ARGV[3]     most consumers in a partition
-- ARGV[4..]   fields of the definition and their values in turn
-- returns     the state before: '' for a new consumer | 'full'
local now, state = text(now_ms()), redis.call('HGET', CONSUMER, 'state')
if not state then
  if redis.call('ZCARD', KEYS[7]) >= tonumber(ARGV[3]) then
    return 'full'
  end
  redis.call('HSET', CONSUMER, 'uid', ARGV[2], 'created_ms', now)
end
redis.call('HSET', CONSUMER, 'state', 'running', 'changed_ms', now, unpack(ARGV, 4))
redis.call('ZADD', KEYS[7], 0, NAME)
local def, window = definition(), open_window()
if window then
  limit_window(def, window)
end
index_window(def, window)
index_outbox(def)
return state or ''
