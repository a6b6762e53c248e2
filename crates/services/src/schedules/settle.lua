-- Has a tenant that was looked through looked at again, unless there were hints since.
--
-- KEYS[1]  tenants by when they are looked at next     KEYS[2]  versions of the tenants
-- ARGV[1]  tenant
-- ARGV[2]  its version before it was looked through
-- ARGV[3]  when its next schedule is due, or ''
-- ARGV[4]  ms after which it is looked at in any case
-- returns  1, or 0 if there were hints
if (redis.call('HGET', KEYS[2], ARGV[1]) or '0') ~= ARGV[2] then
  return 0
end
local latest = now_ms() + tonumber(ARGV[4])
redis.call('ZADD', KEYS[1], ARGV[3] == '' and latest or math.min(latest, tonumber(ARGV[3])), ARGV[1])
return 1
