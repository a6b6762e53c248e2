-- Wakes those who wait for a record, whose name is also that of their channel. It is a hint: if it cannot be sent, they
-- look by themselves a little later.
local function wake(waited)
  if waited then
    redis.pcall('PUBLISH', KEYS[1], '')
  end
end
