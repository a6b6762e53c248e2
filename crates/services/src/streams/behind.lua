-- Reads on behind an entry; who finds all there is hears of the next publication for a while.
--
-- KEYS[1..4]  see stream.lua
-- ARGV[1..2]  the entry, and how many at most
-- ARGV[3]     for how long, in ms
-- returns     {entries, the last id of the stream, or of those it ever had, or 0-0; the last number; 1 if there may be more}

-- Entries read at once, at first, and the bytes behind which no more are read.
local SOME, ENOUGH = 8, 262144

local most, behind, entries, bytes, is_more = tonumber(ARGV[2]), ARGV[1], {}, 0, true
while is_more and #entries < most and bytes < ENOUGH do
  local wanted = math.min(math.max(SOME, #entries), most - #entries)
  local some = redis.call('XRANGE', STREAM, '(' .. behind, '+', 'COUNT', wanted)
  for _, entry in ipairs(some) do
    entries[#entries + 1] = entry
    bytes = bytes + size_of(entry[2])
    behind = entry[1]
  end
  is_more = #some == wanted
end
local meta = redis.call('HMGET', META, 'last', 'sequence')
local last = meta[1] or '0-0'
if not is_more then
  redis.call('ZADD', WAITERS, now + tonumber(ARGV[3]), FOLLOWERS)
  redis.call('PEXPIRE', WAITERS, ARGV[3])
  -- Strangers may have added to it.
  local there = redis.call('XREVRANGE', STREAM, '+', '-', 'COUNT', 1)[1]
  last = there and is_before(last, there[1]) and there[1] or last
else
  last = behind
end
return {entries, last, text(tonumber(meta[2] or 0)), is_more and 1 or 0}
