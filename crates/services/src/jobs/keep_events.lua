-- Has a queue keep events, or stop doing so.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      about how many are kept, or '' for none
-- returns      1
if ARGV[1] == '' then
  redis.call('HDEL', META, 'events_max')
else
  redis.call('HSET', META, 'events_max', ARGV[1])
end
-- Their numbers go on when there are some again.
if redis.call('EXISTS', EVENTS) == 1 then
  redis.call('XTRIM', EVENTS, 'MAXLEN', ARGV[1] == '' and 0 or ARGV[1])
end
return 1
