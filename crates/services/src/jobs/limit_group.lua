-- Sets how many jobs of one group may be active and how fast they are leased, whatever holds for the others.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2]      group
-- ARGV[3]      most active jobs, or '' for what holds for the others
-- ARGV[4..5]   us between two leases and how many may be leased at once, or '' for what holds for the others
-- returns      1
local group = ARGV[2]
if ARGV[3] == '' then
  redis.call('HDEL', META, 'max:' .. group)
else
  redis.call('HSET', META, 'max:' .. group, ARGV[3])
end
-- `paces` is how many groups have a rate of their own.
local change
if ARGV[4] == '' then
  change = -redis.call('HDEL', META, 'pace:' .. group)
else
  change = redis.call('HSET', META, 'pace:' .. group, ARGV[4] .. ',' .. ARGV[5])
end
if change ~= 0 and redis.call('HINCRBY', META, 'paces', change) == 0 then
  redis.call('HDEL', META, 'paces')
end
if redis.call('HEXISTS', META, 'grouped') == 1 then
  groups().touch(group)
  save()
  wake(math.max(arrived, work_for(WAKE, true)))
end
return 1
