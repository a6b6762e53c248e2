-- Sets the bounds of a queue.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2]      most active jobs, or '' for no bound
-- ARGV[3..4]   us between two leases and how many may be leased at once, or '' for no bound
-- ARGV[5]      most active jobs of each group that has no bound of its own, or '' for no bound
-- ARGV[6..7]   us between two leases of each group that has no rate of its own and how many may be leased at once, or '' for no bound
-- returns      1
local function set(field, value)
  if value == '' then
    redis.call('HDEL', META, field)
  else
    redis.call('HSET', META, field, value)
  end
end

for index, field in ipairs({'active_max', 'interval_us', 'burst'}) do
  set(field, ARGV[index + 1])
end
local of_groups = redis.call('HMGET', META, 'group_max', 'group_pace')
local pace = ARGV[6] ~= '' and ARGV[6] .. ',' .. ARGV[7] or ''
if ARGV[5] ~= (of_groups[1] or '') or pace ~= (of_groups[2] or '') then
  set('group_max', ARGV[5])
  set('group_pace', pace)
  if redis.call('HEXISTS', META, 'grouped') == 1 then
    redis.call('HSET', META, 'walk', '')
    groups().walk()
  end
end
wake(WAKE)
return 1
