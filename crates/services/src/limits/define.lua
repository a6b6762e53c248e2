-- Stores a policy under its name, or removes it, and notes what stood there.
--
-- KEYS[1]  policy   hash: version, table, changed (ms)
-- KEYS[2]  history  list: 'version\nms\ntable' of the earlier ones, the latest first
-- ARGV[1]  the table as JSON, '' to remove
-- ARGV[2]  version that must be there, 0 for none, '' for any
-- ARGV[3]  most entries of the history
-- ARGV[4]  how long the history is kept after the last change, in ms
-- returns  {version, now} | {-1, version that is there}
local fields = redis.call('HMGET', KEYS[1], 'version', 'table', 'changed')
local version, now = tonumber(fields[1] or 0), now_ms()
if ARGV[2] ~= '' and tonumber(ARGV[2]) ~= version then
  return {-1, version}
end
if version > 0 then
  redis.call('LPUSH', KEYS[2], text(version) .. '\n' .. fields[3] .. '\n' .. fields[2])
  redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[3]) - 1)
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
if ARGV[1] == '' then
  redis.call('DEL', KEYS[1])
  return {version, now}
end
-- A name that is used again does not begin with a version that somebody may remember.
local last = tonumber(string.match(redis.call('LINDEX', KEYS[2], 0) or '', '^(%d+)') or 0)
version = math.max(version, last) + 1
redis.call('HSET', KEYS[1], 'version', text(version), 'table', ARGV[1], 'changed', text(now))
return {version, now}
