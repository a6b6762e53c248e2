-- Those who wait, in the order they came. Each renews a short lease of its own; whose lease has ended counts as dead and is removed by the one behind, or
-- by whoever comes. So however many have died, they hold the others up for one such lease together.
--
-- KEYS[2]  queue: tokens by number
-- KEYS[3]  by token, when its lease ends (16 digits, ms) ; owner
local QUEUE_KEEP = 60000

local function first_in_queue()
  return redis.call('ZRANGE', KEYS[2], 0, 0)[1] or NOBODY
end

-- How many are ahead of the caller; all of them, if it does not wait.
local function count_ahead()
  return redis.call('ZRANK', KEYS[2], TOKEN) or redis.call('ZCARD', KEYS[2])
end

-- When the lease of the one just ahead ends.
local function end_of_lease_ahead(place)
  local waiter = redis.call('ZRANGE', KEYS[2], place - 1, place - 1)[1]
  local note = waiter and redis.call('HGET', KEYS[3], waiter)
  return note and tonumber(string.sub(note, 1, 16)) or 0
end

local function leave_queue()
  redis.call('ZREM', KEYS[2], TOKEN)
  redis.call('HDEL', KEYS[3], TOKEN)
end

local function join_queue(lease, name)
  if not redis.call('ZSCORE', KEYS[2], TOKEN) then
    local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
    redis.call('ZADD', KEYS[2], tonumber(last or 0) + 1, TOKEN)
  end
  redis.call('HSET', KEYS[3], TOKEN, string.format('%016d;', now + lease) .. name)
  redis.call('PEXPIRE', KEYS[2], QUEUE_KEEP)
  redis.call('PEXPIRE', KEYS[3], QUEUE_KEEP)
end

local function bury_one_ahead()
  local place = count_ahead()
  if place == 0 or end_of_lease_ahead(place) > now then
    return false
  end
  local waiter = redis.call('ZRANGE', KEYS[2], place - 1, place - 1)[1]
  redis.call('ZREM', KEYS[2], waiter)
  redis.call('HDEL', KEYS[3], waiter)
  return true
end

-- Removes the dead just ahead, a few at a time: a caller that still finds one dead comes again at once.
local function bury_ahead()
  return bury_one_ahead() and bury_one_ahead() and bury_one_ahead() and bury_one_ahead()
end
