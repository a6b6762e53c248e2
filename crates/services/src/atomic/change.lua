-- Changes one versioned value if it is as expected: a field of a hash, with its version beside it.
--
-- KEYS[1]  the hash
-- ARGV[1]  name of the value in it
-- ARGV[2]  what is expected: 'any', 'absent', 'version' or 'value'
-- ARGV[3]  the version or value expected
-- ARGV[4]  'put' or 'remove'
-- ARGV[5]  the new value
-- ARGV[6]  lifetime of the hash from now: 'keep', 0 for never, or ms
-- returns  {1, version or '' if removed, version before or nil, value before or nil} | {0, '', version, value}
local VERSION, VALUE = 'v' .. ARGV[1], 'b' .. ARGV[1]
local before = redis.call('HMGET', KEYS[1], VERSION, VALUE)
local version, value = before[1], before[2]

local holds = ARGV[2] == 'any'
if ARGV[2] == 'absent' then
  holds = not version
elseif ARGV[2] == 'version' then
  holds = version == ARGV[3]
elseif ARGV[2] == 'value' then
  holds = version and value == ARGV[3]
end
if not holds then
  return {0, '', version, value}
end
if ARGV[4] == 'remove' then
  redis.call('HDEL', KEYS[1], VERSION, VALUE)
  return {1, '', version, value}
end

-- The clock in microseconds, so that a value that was removed and is there again does not have the version it had.
local time = redis.call('TIME')
local next_version = math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), (tonumber(version or 0)) + 1)
redis.call('HSET', KEYS[1], VERSION, text(next_version), VALUE, ARGV[5])
if ARGV[6] == '0' then
  redis.call('PERSIST', KEYS[1])
elseif ARGV[6] ~= 'keep' then
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
return {1, text(next_version), version, value}
