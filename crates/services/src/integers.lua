-- Integers as steps of every service need them: as text, and as time.

-- Writes an integer: Lua's own conversion turns large ones into floats.
local function text(number)
  return string.format('%d', number)
end

-- The store's clock in milliseconds since the epoch.
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
