-- Says how a lease went. Refused if the trigger was leased to another since.
--
-- KEYS[1..6]  the consumer
-- KEYS[7]     dead
-- ARGV[2]     trigger's id
-- ARGV[3]     token of the lease
-- ARGV[4]     'done' | 'retry' | 'give_up' | 'hand_back': not tried, does not count as an attempt
-- ARGV[5]     for 'retry', ms until the next attempt
-- ARGV[6]     for 'retry' and 'give_up', what went wrong
-- ARGV[7]     attempts after which a trigger is given up
-- ARGV[8]     most dead triggers
-- returns     'done' | 'waits' | 'dead' | 'absent': settled before | 'lost'
local def, id, outcome = definition(), ARGV[2], ARGV[4]
if not def or redis.call('HEXISTS', TRIGGERS, id) == 0 then
  return 'absent'
end
if redis.call('HGET', TRIGGERS, id .. ':t') ~= ARGV[3] then
  return 'lost'
end
local now, result = now_ms(), 'waits'
if outcome == 'done' then
  redis.call('ZREM', OUTBOX, id)
  forget(id)
  redis.call('HINCRBY', CONSUMER, 'delivered', 1)
  redis.call('HSET', CONSUMER, 'delivered_ms', text(now))
  result = 'done'
elseif outcome == 'hand_back' then
  redis.call('HINCRBY', TRIGGERS, id .. ':n', -1)
  redis.call('HDEL', TRIGGERS, id .. ':t')
  redis.call('ZADD', OUTBOX, text(now), id)
else
  redis.call('HSET', TRIGGERS, id .. ':e', ARGV[6])
  local attempts = tonumber(redis.call('HGET', TRIGGERS, id .. ':n'))
  if outcome == 'give_up' or attempts >= tonumber(ARGV[7]) then
    bury(id, now, tonumber(ARGV[8]))
    result = 'dead'
  else
    redis.call('HDEL', TRIGGERS, id .. ':t')
    redis.call('ZADD', OUTBOX, text(now + tonumber(ARGV[5])), id)
  end
end
index_outbox(def)
return result
