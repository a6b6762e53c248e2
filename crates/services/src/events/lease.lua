-- Leases triggers: nobody else gets them until the lease ends.
--
-- KEYS[1..6]  the consumer
-- KEYS[7]     dead
-- ARGV[2]     'push' or 'pull': how the caller believes the triggers are delivered
-- ARGV[3]     most triggers
-- ARGV[4]     length of the lease in ms
-- ARGV[5]     attempts after which a trigger is given up
-- ARGV[6]     most dead triggers
-- returns     {'absent'} | {'other'}: delivered in the other way
--             | {'ok', target, how many were given up, {id, token, attempt, record, ...}}
local def = definition()
if not def then
  redis.call('ZREM', READY, NAME)
  return {'absent'}
end
if def.push ~= (ARGV[2] == 'push') then
  return {'other'}
end
local now, leased, buried = now_ms(), {}, 0
local until_ms, attempts_max = text(now + tonumber(ARGV[4])), tonumber(ARGV[5])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OUTBOX, '-inf', text(now), 'LIMIT', 0, ARGV[3])) do
  local attempt = redis.call('HINCRBY', TRIGGERS, id .. ':n', 1)
  if attempt > attempts_max then
    -- Its last holder never said how it went.
    redis.call('HSET', TRIGGERS, id .. ':n', attempts_max)
    redis.call('HSETNX', TRIGGERS, id .. ':e', 'the lease ended without an outcome')
    bury(id, now, tonumber(ARGV[6]))
    buried = buried + 1
  else
    local token = text(redis.call('HINCRBY', CONSUMER, 'fence', 1))
    redis.call('HSET', TRIGGERS, id .. ':t', token)
    redis.call('ZADD', OUTBOX, until_ms, id)
    leased[#leased + 1] = id
    leased[#leased + 1] = token
    leased[#leased + 1] = attempt
    leased[#leased + 1] = redis.call('HGET', TRIGGERS, id)
  end
end
index_outbox(def)
return {'ok', redis.call('HGET', CONSUMER, 'target'), buried, leased}
