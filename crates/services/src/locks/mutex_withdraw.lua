-- Ends an attempt whatever has become of it: takes the caller out of the queue, and gives back what it may have taken unawares.
--
-- KEYS[1..3]  state, queue, waiters
-- ARGV[1..2]  see mutex.lua
-- ARGV[3]     'everything' | 'place': what the caller holds it keeps
-- returns     1
leave_queue()
local released = ARGV[3] == 'everything' and token == TOKEN and ends > 0
if released then
  ends = 0
end
local first = first_in_queue()
if released or first ~= heir then
  heir = first
  save(math.max(0, ends - now))
  if ends <= now and heir ~= NOBODY then
    redis.pcall('PUBLISH', KEYS[1], heir)
  end
end
return 1
