-- Looks what is due.
--
-- KEYS[1]  due: names by when they are looked at next
-- KEYS[2]  versions of the names: hash, or the same key again if they have none
-- ARGV[1]  most names
-- returns  {now, when the first comes that is not due or '', for each name: name, version}
local now = now_ms()
local names = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
local later = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local reply = {text(now), later[2] or ''}
for _, name in ipairs(names) do
  reply[#reply + 1] = name
  reply[#reply + 1] = KEYS[2] ~= KEYS[1] and redis.call('HGET', KEYS[2], name) or '0'
end
return reply
