-- Removes listed entries, those that still carry the tag.
--
-- KEYS[1..5]  the partition
-- KEYS[6..]   entries
-- ARGV[1]     tag, escaped; '' removes whatever the tags are
-- ARGV[2..]   keys as callers name them, in the order of KEYS[6..]
-- returns     how many entries there were to remove
local epoch = redis.call('GET', EPOCH)
local count = 0
for index = 2, #ARGV do
  local key, entry = ARGV[index], KEYS[index + 4]
  if ARGV[1] == '' or redis.call('ZSCORE', MEMBERS, ARGV[1] .. ':' .. key) then
    if is_live(entry, epoch) then
      count = count + 1
    end
    forget(key)
    redis.call('UNLINK', entry)
  end
end
settle()
return count
