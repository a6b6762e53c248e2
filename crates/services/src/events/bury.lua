-- Shared by the steps that give a trigger up.
--
-- KEYS[7]  dead  sorted set: trigger's id, scored by the millisecond it was given up at
local DEAD = KEYS[7]

local function forget(id)
  redis.call('HDEL', TRIGGERS, id, id .. ':n', id .. ':t', id .. ':e')
end

-- How many of the dead a burial drops at most. It adds one, so they become few again after the limit was lowered.
local DROP_STEP = 2

-- Moves a trigger to the dead, of which the oldest make room.
local function bury(id, now, dead_max)
  redis.call('ZREM', OUTBOX, id)
  redis.call('HDEL', TRIGGERS, id .. ':t')
  redis.call('ZADD', DEAD, text(now), id)
  redis.call('HINCRBY', CONSUMER, 'given_up', 1)
  for _ = 1, math.min(DROP_STEP, redis.call('ZCARD', DEAD) - dead_max) do
    forget(redis.call('ZPOPMIN', DEAD)[1])
    redis.call('HINCRBY', CONSUMER, 'dead_dropped', 1)
  end
end
