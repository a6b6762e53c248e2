-- Reads events.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      number of the last event that is known
-- ARGV[2]      how many
-- returns      {number of the last event there was, number, its fields, ...}
if redis.call('EXISTS', EVENTS) == 0 then
  return {0}
end
local last = 0
local about = redis.call('XINFO', 'STREAM', EVENTS)
for index = 1, #about, 2 do
  if about[index] == 'last-generated-id' then
    last = tonumber(string.match(about[index + 1], '%d+$'))
  end
end
-- What is known of another life of the store is not known of this one.
local known = tonumber(ARGV[1]) <= last and ARGV[1] or '0'
local reply = {last}
for _, entry in ipairs(redis.call('XRANGE', EVENTS, '(0-' .. known, '+', 'COUNT', ARGV[2])) do
  reply[#reply + 1] = tonumber(string.match(entry[1], '%d+$'))
  reply[#reply + 1] = entry[2]
end
return reply
