-- Gives a session its next id.
--
-- KEYS[1..6]  index and session
-- ARGV[1]     proof
-- ARGV[2]     proof of the next id
-- ARGV[3]     nonce from which the next id is derived
-- ARGV[4]     how long the present one is still accepted, in ms; 0 not at all, nor any that was replaced before
-- returns     {1} done; {2, nonce} somebody else was faster, and this is from what the id after this one is derived;
--             {0} no such session
local proof = redis.call('HGET', SESSION, 'h')
if proof == ARGV[1] then
  redis.call('HSET', SESSION, 'h', ARGV[2])
  if ARGV[4] == '0' then
    redis.call('HINCRBY', SESSION, 'k', 1)
  else
    redis.call('SET', GRACE, ARGV[3] .. (redis.call('HGET', SESSION, 'k') or ''), 'PX', ARGV[4])
  end
  return {1}
end
local nonce = proof and nonce_in_grace()
return nonce and {2, nonce} or {0}
