-- Tells everything about a consumer at one moment.
--
-- KEYS[1..25]  the consumer
-- returns      {} if there is none
--              | {now, {fields of the consumer}, {n, first, last} or {}, triggers that wait, dead, delivered ever, dead that were dropped}
if not definition() then
  return {}
end
local window = open_window()
local totals = redis.call('HMGET', KEYS[1], 'completed', 'dropped')
return {text(now_ms()), redis.call('HGETALL', CONSUMER),
  window and {text(window.n), text(window.first), text(window.last)} or {},
  waiting(), redis.call('ZCARD', KEYS[13]), totals[1] or '0', totals[2] or '0'}
