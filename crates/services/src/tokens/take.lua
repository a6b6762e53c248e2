-- Gives what a one-time token stands for, and consumes the token.
--
-- KEYS[1]  token: 43 characters that stand for its subject, then its payload
-- ARGV[1]  43 characters that stand for the subject of whoever presents it
-- ARGV[2]  'take' or 'peek'; peeking leaves the token as it is
-- returns  payload, or nil: there is no such token, or it is another's
local stored = redis.call('GET', KEYS[1])
if not stored or string.sub(stored, 1, 43) ~= ARGV[1] then
  return false
end
if ARGV[2] == 'take' then
  redis.call('DEL', KEYS[1])
end
return string.sub(stored, 44)
