-- Gives a drawn number back, to be drawn next.
--
-- KEYS[1..2]  as in draw.lua
-- ARGV[1]     holder
-- returns     1, or 0 if the holder has none
local number = redis.call('HGET', KEYS[1], 'i' .. ARGV[1])
if not number then
  return 0
end
redis.call('ZADD', KEYS[2], 0, number)
redis.call('HDEL', KEYS[1], 'n' .. number, 'i' .. ARGV[1])
return 1
