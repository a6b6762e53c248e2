-- Has a tenant looked at no later than at a moment.
--
-- KEYS[1]  tenants by when they are looked at next     KEYS[2]  versions of the tenants
-- ARGV[1]  tenant
-- ARGV[2]  moment
-- returns  1
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
redis.call('ZADD', KEYS[1], 'LT', ARGV[2], ARGV[1])
return 1
