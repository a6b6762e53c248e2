-- Puts dead triggers back into the outbox as if never tried, or forgets them.
--
-- KEYS[1..6]  the consumer
-- KEYS[7]     dead
-- ARGV[2]     'requeue' or 'purge'
-- ARGV[3]     most triggers
-- ARGV[4]     most triggers in an outbox
-- ARGV[5]     a trigger's id; absent for the oldest
-- returns     how many there were, false if there is no such consumer
local def, now, count = definition(), text(now_ms()), 0
if not def then
  return false
end
local ids = ARGV[5] and {ARGV[5]} or redis.call('ZRANGE', DEAD, 0, tonumber(ARGV[3]) - 1)
local room = tonumber(ARGV[4]) - redis.call('ZCARD', OUTBOX)
for _, id in ipairs(ids) do
  if ARGV[2] == 'purge' then
    if redis.call('ZREM', DEAD, id) == 1 then
      forget(id)
      count = count + 1
    end
  elseif count < room and redis.call('ZREM', DEAD, id) == 1 then
    redis.call('HDEL', TRIGGERS, id .. ':n', id .. ':t', id .. ':e')
    redis.call('ZADD', OUTBOX, now, id)
    count = count + 1
  end
end
index_outbox(def)
return count
