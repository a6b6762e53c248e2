-- Adds a CSRF token to a session.
--
-- KEYS[1]  tokens of the session (sorted set by expiry in ms); a member is m or o, for many uses or one, and a digest
-- ARGV[1]  member
-- ARGV[2]  lifetime in ms
-- ARGV[3]  most tokens of a session; bounds the work, too
local now = now_ms()
local gone = redis.call('ZCOUNT', KEYS[1], '-inf', text(now))
if gone > 0 then
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, gone - 1)
end
redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[2])), ARGV[1])
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[3])
if over > 0 then
  -- Those that end first. The new one stays even if it is among them.
  local oldest = redis.call('ZRANGE', KEYS[1], 0, over)
  local removed = 0
  for _, member in ipairs(oldest) do
    if member ~= ARGV[1] and removed < over then
      removed = removed + redis.call('ZREM', KEYS[1], member)
    end
  end
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], last[2])
return 1
