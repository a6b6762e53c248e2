-- Ends a session.
--
-- KEYS[1..6]  index and session
-- ARGV[1]     proof
-- ARGV[2]     ref
-- ARGV[3]     version it must have; '' for any
-- returns     1 ended, 0 there was none, 2 it has another version
if not is_holder() then
  return 0
end
local held = redis.call('HMGET', SESSION, 'c', 'u', 'w', 'v')
if ARGV[3] ~= '' and ARGV[3] ~= held[4] then
  return 2
end
delist(ARGV[2], held[1], held[2] or '', held[3] or '')
redis.call('DEL', SESSION, MESSAGES, GRACE)
return 1
