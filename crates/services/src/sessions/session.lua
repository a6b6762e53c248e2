-- One session. First part, after index.lua, of the steps that are about one.
--
-- KEYS[4]  session   hash: h proof, c stamp, i idle ms, a absolute end or 0, e end, t last seen, v version, z bytes of
--                    the fields; u user, w workspace, p address, g user agent, b binding, k how often its id was replaced
--                    without grace, if any; '.name' 'version:json'
-- KEYS[5]  messages  list of JSON texts
-- KEYS[6]  grace     string: the 16 bytes from which the id after the presented one is derived, and k of that moment; there
--                    while the presented one, no longer current, is still accepted, unless k is another by now
-- ARGV[1]  proof: hash of the secret in the presented id
local SESSION, MESSAGES, GRACE = KEYS[4], KEYS[5], KEYS[6]

-- Returns from what the id after the presented one is derived, nil if the presented one is not accepted any more.
local function nonce_in_grace()
  local kept = redis.call('GET', GRACE)
  if kept and string.sub(kept, 17) == (redis.call('HGET', SESSION, 'k') or '') then
    return string.sub(kept, 1, 16)
  end
  return nil
end

-- Tells whether there is a session, and the presented id is its id or was until a moment ago.
local function is_holder()
  local proof = redis.call('HGET', SESSION, 'h')
  return proof and (proof == ARGV[1] or nonce_in_grace())
end

-- Moves the session's end, not beyond the absolute one, and returns it.
local function prolong(ref, target)
  local parts = redis.call('HMGET', SESSION, 'a', 'c', 'u', 'w')
  local absolute = tonumber(parts[1])
  local expires = absolute > 0 and math.min(target, absolute) or target
  redis.call('HSET', SESSION, 'e', expires)
  redis.call('PEXPIREAT', SESSION, expires)
  redis.call('PEXPIREAT', MESSAGES, expires)
  enlist(ref, parts[2], parts[3] or '', parts[4] or '', expires)
  return expires
end
