-- Keeps what could not be understood, and counts it.
--
-- KEYS[1]  consumer
-- KEYS[2]  poison  list: the latest, newest first
-- ARGV[1]  most messages kept
-- ARGV[2]  how long the list is kept, in ms from now
-- ARGV[3..] messages
-- returns  1, 0 if there is no such consumer
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'poison', #ARGV - 2)
for index = 3, #ARGV do
  redis.call('LPUSH', KEYS[2], ARGV[index])
end
redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[1]) - 1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
