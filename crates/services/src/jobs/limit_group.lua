-- Sets how many jobs of one group may be active, whatever holds for the others.
--
-- KEYS[1..19]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2]      group
-- ARGV[3]      most active jobs, or '' for what holds for the others
-- returns      1
if ARGV[3] == '' then
  redis.call('HDEL', META, 'max:' .. ARGV[2])
else
  redis.call('HSET', META, 'max:' .. ARGV[2], ARGV[3])
end
if redis.call('HEXISTS', META, 'grouped') == 1 then
  groups().touch(ARGV[2])
  save()
  wake(work_for(WAKE, true))
end
return 1
