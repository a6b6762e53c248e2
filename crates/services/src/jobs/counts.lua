-- Counts, all of one moment.
--
-- KEYS[1..21]  see queue.lua
-- returns      {now in ms; waiting, delayed, active, completed, cancelled, expired, dead, blocked; of the delayed those that are due and of the active those whose
--              leases have ended; bytes, paused since, total of completed, cancelled, expired, dead, lost leases, dropped dead; since when the
--              next waits, or the next of the groups if that waits for longer}
local now, reply = now_ms(), {}
reply[1] = now
for _, place in ipairs({'w', 'd', 'a', 'c', 'x', 'o', 'k', 'p'}) do
  reply[#reply + 1] = redis.call('ZCARD', PLACES[place])
end
for _, place in ipairs({'d', 'a'}) do
  reply[#reply + 1] = redis.call('ZCOUNT', PLACES[place], '-inf', now)
end
local totals = redis.call('HMGET', META, 'bytes', 'paused', 'completed', 'cancelled', 'expired', 'dead', 'lost', 'dropped', 'grouped')
for index = 1, 8 do
  reply[#reply + 1] = tonumber(totals[index] or 0)
end
local function since(id)
  return id and number(redis.call('HGET', STATES, id), 42, 54) or 0
end

local first = since(redis.call('ZRANGE', WAITING, 0, 0)[1])
if totals[9] then
  reply[2] = reply[2] + redis.call('ZCARD', GROUPED)
  local group = redis.call('ZRANGE', RING, 0, 0)[1]
  local of_group = group and since(string.sub(groups().first_of(group, 1)[1], #group + 18)) or 0
  first = first > 0 and of_group > 0 and math.min(first, of_group) or math.max(first, of_group)
end
reply[#reply + 1] = first
return reply
