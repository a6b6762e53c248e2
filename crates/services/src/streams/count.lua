-- Counts entries of a range, a page of them.
--
-- KEYS[1]     the stream
-- ARGV[1..2]  behind which entry, and the last one
-- ARGV[3]     most entries to count
-- returns     {how many, the last of them or ''}
local page = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#page, #page > 0 and page[#page][1] or ''}
