-- Counts, all of one moment.
--
-- KEYS[1..15]  see queue.lua
-- returns      {now in ms; waiting, delayed, active, completed, cancelled, expired, dead, blocked; of the delayed those that are due and of the active those whose
--              leases have ended; bytes, paused since, total of completed, cancelled, expired, dead, lost leases, dropped dead; since when the first waits}
local now, reply = now_ms(), {}
reply[1] = now
for _, place in ipairs({'w', 'd', 'a', 'c', 'x', 'o', 'k', 'p'}) do
  reply[#reply + 1] = redis.call('ZCARD', PLACES[place])
end
for _, place in ipairs({'d', 'a'}) do
  reply[#reply + 1] = redis.call('ZCOUNT', PLACES[place], '-inf', now)
end
local totals = redis.call('HMGET', META, 'bytes', 'paused', 'completed', 'cancelled', 'expired', 'dead', 'lost', 'dropped')
for index = 1, 8 do
  reply[#reply + 1] = tonumber(totals[index] or 0)
end
local first = redis.call('ZRANGE', WAITING, 0, 0)[1]
local state = first and redis.call('HGET', STATES, first)
reply[#reply + 1] = state and number(state, 42, 54) or 0
return reply
