-- Takes a mutex from whoever holds it, and shuts it out by a new fence.
--
-- KEYS[1]     state
-- ARGV[1..2]  see mutex.lua; the token is nobody's
-- returns     {1 if it was held, new fence}
local held = ends > now
fence, ends, since, token, owner = fence_after(fence), 0, 0, NOBODY, ''
save(0)
if heir ~= NOBODY then
  redis.pcall('PUBLISH', KEYS[1], heir)
end
return {held and 1 or 0, fence}
