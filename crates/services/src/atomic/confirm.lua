-- Makes a drawn number final. A lease that has ended still counts while nobody else has drawn the number.
--
-- KEYS[1..3]  as in draw.lua
-- ARGV[1]     holder
-- ARGV[2]     how long the confirmation is known, in ms
-- returns     {'done', number} | {'again', number} | {'lost', ''}
local number = redis.call('HGET', KEYS[1], 'i' .. ARGV[1])
if not number then
  local confirmed = redis.call('GET', KEYS[3])
  return confirmed and {'again', confirmed} or {'lost', ''}
end
redis.call('ZREM', KEYS[2], number)
redis.call('HDEL', KEYS[1], 'n' .. number, 'i' .. ARGV[1])
redis.call('SET', KEYS[3], number, 'PX', ARGV[2])
return {'done', number}
