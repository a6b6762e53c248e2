-- Makes the entries that carry a tag cease to exist, all at once, and lists them for being freed, in order of their keys.
-- The first page also refuses fills in progress.
--
-- KEYS[1..5]  the partition
-- ARGV[1]     tag, escaped
-- ARGV[2]     last key of the page before, '' for the first page
-- ARGV[3]     length of a page
-- returns     {number of this invalidation, keys as callers name them}; the number is 0 if there are none, and on
--             further pages; if too many tags are on their way out, {-1, {the one to be finished first}}
local from
local number = 0
if ARGV[2] == '' then
  stamp(ARGV[1], now_ms())
  local epoch = open()
  from = '[' .. ARGV[1] .. ':'
  local again
  for _, out in ipairs(epoch.pending) do
    if out.tag == ARGV[1] then
      again = out
    end
  end
  -- What was begun is finished, also if nothing is left of it.
  if not again and #redis.call('ZRANGEBYLEX', MEMBERS, from, '(' .. ARGV[1] .. ';', 'LIMIT', 0, 1) == 0 then
    return {0, {}}
  end
  number = epoch.count + 1
  if again then
    again.number = number
  elseif #epoch.pending >= PENDING_MAX then
    return {-1, {epoch.pending[1].tag}}
  else
    table.insert(epoch.pending, {tag = ARGV[1], number = number, displaced = 0})
  end
  epoch.count = number
  write_epoch(epoch)
else
  from = '(' .. ARGV[1] .. ':' .. ARGV[2]
end
-- ';' is the character after ':'.
local page = redis.call('ZRANGEBYLEX', MEMBERS, from, '(' .. ARGV[1] .. ';', 'LIMIT', 0, ARGV[3])
for index, member in ipairs(page) do
  page[index] = string.sub(member, #ARGV[1] + 2)
end
return {number, page}
