-- Removes the session of another library if nobody has changed it since it was read.
--
-- KEYS[1]  its key
-- ARGV[1]  its value when it was read
-- returns  1 removed, 0 there was none, 2 it has changed
local value = redis.call('GET', KEYS[1])
if not value then
  return 0
end
if value ~= ARGV[1] then
  return 2
end
return redis.call('DEL', KEYS[1])
