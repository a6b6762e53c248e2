-- Defines a consumer, or defines it anew: it runs afterwards.
--
-- KEYS[1..25]  the consumer
-- KEYS[26]     names  sorted set of the partition, all scores 0: every consumer
-- ARGV[3]      unique text for a new consumer
-- ARGV[4]      most consumers in a partition
-- ARGV[5..]    fields of the definition and their values in turn
-- returns      the state before: '' for a new consumer | 'full'
local now, state = text(now_ms()), redis.call('HGET', CONSUMER, 'state')
if not state then
  if redis.call('ZCARD', KEYS[26]) >= tonumber(ARGV[4]) then
    return 'full'
  end
  redis.call('HSET', CONSUMER, 'uid', ARGV[3], 'created_ms', now)
end
redis.call('HSET', CONSUMER, 'state', 'running', 'changed_ms', now, unpack(ARGV, 5))
redis.call('ZADD', KEYS[26], 0, NAME)
local def, window = definition(), open_window()
if window then
  limit_window(def, window)
end
index_window(def, window)
index_queue(def)
return state or ''
