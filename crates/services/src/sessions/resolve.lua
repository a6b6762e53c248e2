-- Tells what an id is to its session.
--
-- KEYS[1..6]  index and session
-- ARGV[1]     proof
-- returns     {1} its id; {2, nonce} it was until a moment ago; {0} nothing
local proof = redis.call('HGET', SESSION, 'h')
if proof == ARGV[1] then
  return {1}
end
local nonce = proof and nonce_in_grace()
return nonce and {2, nonce} or {0}
