-- Reads the messages.
--
-- KEYS[1..6]  index and session
-- ARGV[1]     proof
-- returns     JSON texts, oldest first; nil if there is no such session
if not is_holder() then
  return false
end
return redis.call('LRANGE', MESSAGES, 0, -1)
