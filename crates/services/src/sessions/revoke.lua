-- Ends sessions that were found in the index.
--
-- KEYS[1..3]  index
-- KEYS[4..]   session and messages, a pair for each
-- ARGV        'ref:stamp:user:workspace', in the order of KEYS[4..]
-- returns     how many there still were
local ended = 0
for index = 1, #ARGV do
  delist(split(ARGV[index]))
  ended = ended + redis.call('DEL', KEYS[2 + 2 * index])
  redis.call('DEL', KEYS[3 + 2 * index])
end
return ended
