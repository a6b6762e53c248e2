-- Sets the bounds of a queue.
--
-- KEYS[1..15]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2]      most active jobs, or '' for no bound
-- ARGV[3..4]   us between two leases and how many may be leased at once, or '' for no bound
-- returns      1
for index, field in ipairs({'active_max', 'interval_us', 'burst'}) do
  if ARGV[index + 1] == '' then
    redis.call('HDEL', META, field)
  else
    redis.call('HSET', META, field, ARGV[index + 1])
  end
end
wake(WAKE)
return 1
