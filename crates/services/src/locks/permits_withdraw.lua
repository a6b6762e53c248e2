-- Ends an attempt whatever has become of it: takes the caller out of the queue, and gives back what it may have taken.
--
-- KEYS[1..5]  state, queue, waiters, holders, notes
-- ARGV[1..2]  see permits.lua
-- returns     1
leave_queue()
local used_before, heir_before = used, heir
remove_holder(TOKEN)
heir = first_in_queue()
if used ~= used_before or heir ~= heir_before then
  save(0)
  if heir ~= NOBODY then
    redis.pcall('PUBLISH', KEYS[1], heir)
  end
end
return 1
