-- Checks a CSRF token, and consumes it if it is good for one request only.
--
-- KEYS[1]  tokens of the session (sorted set by expiry in ms)
-- ARGV[1]  digest
-- returns  1 valid, 0 not
local now = now_ms()
for _, letter in ipairs({'m', 'o'}) do
  local ends = redis.call('ZSCORE', KEYS[1], letter .. ARGV[1])
  if ends and tonumber(ends) > now then
    if letter == 'o' then
      redis.call('ZREM', KEYS[1], letter .. ARGV[1])
    end
    return 1
  end
end
return 0
