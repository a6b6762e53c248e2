-- Gives a mutex back and wakes who waits first.
--
-- KEYS[1]     state
-- ARGV[1..2]  see mutex.lua
-- returns     1 given back, also if the lease has ended but nobody has taken it since | 0 it is not the caller's
if token ~= TOKEN then
  return 0
end
if ends > 0 then
  ends = 0
  save(0)
  if heir ~= NOBODY then
    redis.pcall('PUBLISH', KEYS[1], heir)
  end
end
return 1
