-- Whether a fence still counts, for steps that change what a lock protects.
--
-- KEYS[1]  state of the lock
-- KEYS[2]  resource: hash of fence and value
local function newest_fence()
  local of_lock = tonumber(redis.call('GETRANGE', KEYS[1], 0, 15)) or 0
  return math.max(of_lock, tonumber(redis.call('HGET', KEYS[2], 'fence') or 0))
end
