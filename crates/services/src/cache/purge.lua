-- Frees listed entries: those that an invalidation of a tag has made cease to exist, or whichever there are.
--
-- KEYS[1..5]  the partition
-- KEYS[6..]   entries
-- ARGV[1]     tag, escaped; '' removes whatever the tags are, but for what somebody else is removing
-- ARGV[2]     number of the invalidation; 0 with ''
-- ARGV[3..]   keys as callers name them, in the order of KEYS[6..]
-- returns     how many entries there were to remove
local epoch = read_epoch()
local number = tonumber(ARGV[2])
local count = 0
for index = 3, #ARGV do
  local key, entry = ARGV[index], KEYS[index + 3]
  local of_epoch = is_of(entry, epoch)
  local wanted
  if ARGV[1] == '' then
    wanted = not of_epoch or not going_with(key, entry, epoch)
  else
    wanted = redis.call('ZSCORE', MEMBERS, ARGV[1] .. ':' .. key) and (not of_epoch or stored_with(entry) < number)
  end
  if wanted then
    if of_epoch then
      count = count + 1
    end
    forget(key)
    redis.call('UNLINK', entry)
  end
end
settle()
return count
