-- Takes everything from whoever holds it, and shuts them out by a new fence.
--
-- KEYS[1..5]  state, queue, waiters, holders, notes
-- ARGV[1..2]  see permits.lua; the token is nobody's
-- returns     {how many held something, new fence}
local held = redis.call('ZCOUNT', KEYS[4], '(' .. string.format('%d', now), '+inf')
redis.call('UNLINK', KEYS[4], KEYS[5])
fence, used = fence_after(fence), 0
save(0)
if heir ~= NOBODY then
  redis.pcall('PUBLISH', KEYS[1], heir)
end
return {held, fence}
