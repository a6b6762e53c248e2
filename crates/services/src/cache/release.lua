-- Gives a lease back without a value, so that another caller may load.
--
-- KEYS[1]  lease
-- ARGV[1]  token
-- returns  1 given back, 0 it was not the caller's any more
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  -- Those who wait for it; that they cannot be told costs them time and nothing else.
  redis.pcall('PUBLISH', KEYS[1], '')
  return 1
end
return 0
