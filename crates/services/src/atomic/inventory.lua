-- Shared by the steps of an inventory.
--
-- KEYS[1]  state: hash of total, held, used, and 'r<id>' to '<state>:<units>' of each reservation, the state being
--          h held, c committed, r released or x expired
-- KEYS[2]  ids of reservations, by when they end (held) or are forgotten (the others), in ms
-- ARGV[1]  how long a reservation that has come to its end is known, in ms
--
-- At every moment total = held + used + what is available, and held is the sum of the reservations that are held. All
-- numbers are integers below 2^53.
local STEP = 100
local NOW, KNOWN_MS = now_ms(), tonumber(ARGV[1])
-- Reservations that this step found to have expired.
local expired = 0

local function units_of(field)
  return tonumber(redis.call('HGET', KEYS[1], field) or 0)
end

-- Returns state and units of a reservation.
local function reservation(id)
  return string.match(redis.call('HGET', KEYS[1], 'r' .. id) or '', '^(%a):(%d+)$')
end

local function change(field, units)
  redis.call('HINCRBY', KEYS[1], field, text(units))
end

-- Ends a reservation that was held.
local function settle(id, state, units)
  redis.call('HSET', KEYS[1], 'r' .. id, state .. ':' .. text(units))
  redis.call('ZADD', KEYS[2], text(NOW + KNOWN_MS), id)
end

local function expire(id, units)
  change('held', -units)
  settle(id, 'x', units)
  expired = expired + 1
end

-- Gives back what has expired and forgets what ended long ago, STEP of them at most; tells whether there is more.
local function clear_due()
  local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text(NOW), 'LIMIT', 0, STEP)
  for _, id in ipairs(due) do
    local state, units = reservation(id)
    if state == 'h' then
      expire(id, tonumber(units))
    else
      redis.call('HDEL', KEYS[1], 'r' .. id)
      redis.call('ZREM', KEYS[2], id)
    end
  end
  return #due == STEP
end

-- Every step returns {word, total, held, used, expired by this step, further number}.
local function answer(word, further)
  return {word, units_of('total'), units_of('held'), units_of('used'), expired, further or 0}
end
