-- Deletes a group with all that is known of it. For a while it is remembered that this was meant, so that no consumer makes it again by itself.
--
-- KEYS[1..9]  see stream.lua and group.lua
-- ARGV[1..2]  see group.lua
-- ARGV[3]     1 to delete it even if it has pending entries or dead letters
-- ARGV[4]     how long to remember, in ms
-- returns     {1 deleted, 0 kept, -1 not there; pending entries; dead letters}
local pending, dead = redis.call('ZCARD', TIMES), redis.call('XLEN', DEAD)
local is_there = redis.call('HEXISTS', HASH, 'options')
if is_there == 0 then
  return {-1, pending, dead}
end
if ARGV[3] ~= '1' and pending + dead > 0 then
  return {0, pending, dead}
end
redis.pcall('XGROUP', 'DESTROY', STREAM, GROUP)
redis.call('UNLINK', HASH, RECORDS, TIMES, PLACES, DEAD)
redis.call('ZREM', GROUPS, 'o' .. GROUP, 'd' .. GROUP)
redis.call('HSET', HASH, 'deleted', now)
redis.call('PEXPIRE', HASH, ARGV[4])
wake(GROUP, WAKE_LOOK)
return {1, pending, dead}
