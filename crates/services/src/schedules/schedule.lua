-- Adds to the history of a schedule.
local function remember(history, entry, kept)
  redis.call('LPUSH', history, text(now_ms()) .. ' ' .. entry)
  redis.call('LTRIM', history, 0, tonumber(kept) - 1)
end

-- Has a schedule looked at when it should be: `at` if that is given; else when its claim may be helped with, when its tick is due, or never.
local function index_schedule(schedule, due, id, at)
  local state = redis.call('HMGET', schedule, 'claim', 'tick', 'look', 'paused')
  if at ~= '' then
    redis.call('ZADD', due, at, id)
  elseif state[1] then
    -- It stays where the claim has put it.
    redis.call('ZADD', due, 'NX', 0, id)
  elseif state[2] and not state[4] then
    redis.call('ZADD', due, state[3], id)
  else
    redis.call('ZREM', due, id)
  end
end
