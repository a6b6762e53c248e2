-- Begins a request.
--
-- KEYS[1]  record (hash of fingerprint, token, until, lease, attempt; waited when somebody waits; done, meta and body
--          when there is an answer)
-- ARGV[1]  fingerprint
-- ARGV[2]  token of this caller
-- ARGV[3]  length of the lease in ms
-- ARGV[4]  how long the record is remembered without an answer, in ms
-- ARGV[5]  'wait' if the caller is going to wait for another one
-- returns  {'started', attempt} | {'busy', ms left of the lease} | {'done', when, meta, body} | {'mismatch'}
local record = redis.call('HMGET', KEYS[1], 'fingerprint', 'token', 'until', 'lease', 'attempt', 'done')
local attempt = tonumber(record[5] or 0)
if record[1] then
  if record[1] ~= ARGV[1] then
    return {'mismatch'}
  end
  if record[6] then
    local answer = redis.call('HMGET', KEYS[1], 'meta', 'body')
    return {'done', tonumber(record[6]), answer[1], answer[2]}
  end
  if record[2] == ARGV[2] then
    -- The same call, sent again by who did not hear the answer.
    return {'started', attempt}
  end
end

local now, lease = now_ms(), tonumber(ARGV[3])
if record[1] then
  local left = tonumber(record[3]) - now
  if left > tonumber(record[4]) then
    -- The clock went back: the lease begins anew.
    left = tonumber(record[4])
    redis.call('HSET', KEYS[1], 'until', now + left)
  end
  if left > 0 then
    if ARGV[5] == 'wait' then
      redis.call('HSET', KEYS[1], 'waited', 1)
    end
    return {'busy', left}
  end
end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'token', ARGV[2], 'until', now + lease, 'lease', lease,
  'attempt', attempt + 1)
redis.call('PEXPIRE', KEYS[1], math.max(lease, tonumber(ARGV[4])))
return {'started', attempt + 1}
