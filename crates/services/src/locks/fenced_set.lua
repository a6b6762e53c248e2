-- Stores a value under a lock, unless somebody has held the lock since the fence was given.
--
-- KEYS[1..2]  see fenced.lua
-- ARGV[1]     fence of the writer
-- ARGV[2]     value
-- ARGV[3]     lifetime in ms, 0 for never
-- returns     the newest fence: the writer's own if it was stored, a larger one if it was refused
local newest = newest_fence()
if tonumber(ARGV[1]) < newest then
  return newest
end
redis.call('HSET', KEYS[2], 'fence', ARGV[1], 'value', ARGV[2])
if ARGV[3] == '0' then
  redis.call('PERSIST', KEYS[2])
else
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
return tonumber(ARGV[1])
