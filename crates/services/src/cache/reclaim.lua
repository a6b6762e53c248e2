-- Frees entries of earlier epochs.
--
-- KEYS[1]   epoch
-- KEYS[2]   retired
-- KEYS[3..] entries
-- ARGV      keys as callers name them, in the order of KEYS[3..]
-- returns   how many entries were freed
local epoch = string.match(redis.call('GET', KEYS[1]) or '', '^[^:]*')
local count = 0
for index, key in ipairs(ARGV) do
  local entry = KEYS[index + 2]
  local of = string.match(redis.call('GETRANGE', entry, 0, 63), '^1;%a+;([^;]*);')
  if of and of ~= epoch then
    count = count + redis.call('UNLINK', entry)
  end
  redis.call('ZREM', KEYS[2], key)
end
return count
