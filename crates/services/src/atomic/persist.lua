-- Takes an object's lifetime away.
--
-- KEYS[1]  the object
-- returns  1, or 0 if there is none
redis.call('PERSIST', KEYS[1])
return redis.call('EXISTS', KEYS[1])
