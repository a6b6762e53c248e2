-- The usual ways through acquiring a mutex, before mutex_acquire.lua, which says what KEYS, ARGV and the answer are: nobody waits, or the caller will not.
-- What the queue needs is not even defined then.
local OWNER, LEASE, PATIENCE = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])

if ends > now and token == TOKEN then
  ends = now + LEASE
  save(LEASE)
  return {1, fence}
end
if ends > now and heir == NOBODY and PATIENCE == 0 then
  return {0, ends - now, 0}
end
if ends <= now and heir == NOBODY then
  fence, ends, since, token, owner = fence_after(fence), now + LEASE, now, TOKEN, OWNER
  save(LEASE)
  return {1, fence}
end
