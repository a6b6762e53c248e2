-- Says what a stream keeps; what is '' is as for all streams again.
--
-- KEYS[1]     the stream's meta
-- ARGV[1..5]  most entries, most bytes, greatest age in ms, t (trim) or r (refuse), how long a group may be silent in ms
-- returns     1
for index, name in ipairs({'length_max', 'bytes_max', 'age_ms', 'full', 'idle_ms'}) do
  if ARGV[index] == '' then
    redis.call('HDEL', KEYS[1], name)
  else
    redis.call('HSET', KEYS[1], name, ARGV[index])
  end
end
return 1
