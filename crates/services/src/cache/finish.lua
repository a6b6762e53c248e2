-- Ends the invalidation of a tag whose entries have been freed, unless it was begun anew since.
--
-- KEYS[1..5]  the partition
-- ARGV[1]     tag, escaped
-- ARGV[2]     number of the invalidation
-- returns     how many of the entries were overwritten before they were freed
local epoch = read_epoch()
for index, out in ipairs(epoch and epoch.pending or {}) do
  if out.tag == ARGV[1] and out.number == tonumber(ARGV[2]) then
    table.remove(epoch.pending, index)
    write_epoch(epoch)
    return out.displaced
  end
end
return 0
