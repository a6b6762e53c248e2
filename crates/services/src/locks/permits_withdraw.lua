-- Ends an attempt whatever has become of it: takes the caller out of the queue, and gives back what it may have taken unawares.
--
-- KEYS[1..5]  state, queue, waiters, holders, notes
-- ARGV[1..2]  see permits.lua
-- ARGV[3]     'everything' | 'place': what the caller holds it keeps
-- returns     1
leave_queue()
local used_before, heir_before = used, heir
if ARGV[3] == 'everything' then
  remove_holder(TOKEN)
end
heir = first_in_queue()
if used ~= used_before or heir ~= heir_before then
  save(0)
  if heir ~= NOBODY then
    redis.pcall('PUBLISH', KEYS[1], heir)
  end
end
return 1
