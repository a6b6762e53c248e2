-- Tells what stands about a scope.
--
-- KEYS[1]  block
-- KEYS[2]  own amounts
-- KEYS[3]  history
-- KEYS[4]  reservations
-- returns  {now, until (-1 if not blocked, 0 for ever), reason, {limit, 'limit:burst:until', ...}, history,
--           reservations that are open or were settled within their lease}
local now = now_ms()
local fields = redis.call('HMGET', KEYS[1], 'until', 'reason')
local until_ms = tonumber(fields[1] or -1)
if until_ms > 0 and until_ms <= now then
  until_ms = -1
end
return {now, until_ms, fields[2] or '', redis.call('HGETALL', KEYS[2]), redis.call('LRANGE', KEYS[3], 0, -1),
  redis.call('ZCOUNT', KEYS[4], '(' .. text(now), '+inf')}
