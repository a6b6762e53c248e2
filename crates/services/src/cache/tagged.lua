-- Lists entries that carry a tag, in order of their keys. The first page also refuses fills in progress.
--
-- KEYS[1..5]  the partition
-- ARGV[1]     tag, escaped
-- ARGV[2]     last key of the page before, '' for the first page
-- ARGV[3]     length of a page
-- returns     keys as callers name them
local from
if ARGV[2] == '' then
  stamp(ARGV[1], now_ms())
  open()
  from = '[' .. ARGV[1] .. ':'
else
  from = '(' .. ARGV[1] .. ':' .. ARGV[2]
end
-- ';' is the character after ':'.
local page = redis.call('ZRANGEBYLEX', MEMBERS, from, '(' .. ARGV[1] .. ';', 'LIMIT', 0, ARGV[3])
for index, member in ipairs(page) do
  page[index] = string.sub(member, #ARGV[1] + 2)
end
return page
