-- Tells everything about a consumer at one moment.
--
-- KEYS[1..6]  the consumer
-- KEYS[7]     dead
-- returns     {} if there is none | {now, {fields of the consumer}, {n, first, last} or {}, waiting, dead}
if not definition() then
  return {}
end
local window = open_window()
return {text(now_ms()), redis.call('HGETALL', CONSUMER),
  window and {text(window.n), text(window.first), text(window.last)} or {},
  redis.call('ZCARD', OUTBOX), redis.call('ZCARD', KEYS[7])}
