-- Tells who holds a mutex and who waits.
--
-- KEYS[1..3]  state, queue, waiters
-- returns     {now in ms, fence, {{lease ends, fence, held since, permits, owner} if held}, {how many wait, {lease ends ; owner} of the first hundred}}
local holders = {}
if ends > now then
  holders = {{ends, fence, since, 1, owner}}
end
return {now, fence, holders, #holders, waiting()}
