-- Reads on behind an entry; who finds all there is hears of the next publication for a while.
--
-- KEYS[1..4]  see stream.lua
-- ARGV[1..2]  the entry, and how many at most
-- ARGV[3]     for how long, in ms
-- returns     {entries, the last id of the stream, or of those it ever had, or 0-0}
local entries = redis.call('XRANGE', STREAM, '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
if #entries == tonumber(ARGV[2]) then
  return {entries, entries[#entries][1]}
end
redis.call('ZADD', WAITERS, now + tonumber(ARGV[3]), FOLLOWERS)
redis.call('PEXPIRE', WAITERS, ARGV[3])
local ever = redis.call('HGET', META, 'last') or '0-0'
local there = redis.call('XREVRANGE', STREAM, '+', '-', 'COUNT', 1)[1]
local last = there and is_before(ever, there[1]) and there[1] or ever
return {entries, last}
