-- Lists triggers that wait or are dead, the oldest first.
--
-- KEYS[1..6]  the consumer
-- KEYS[7]     dead
-- ARGV[2]     'waiting' or 'dead'
-- ARGV[3]     how many to skip
-- ARGV[4]     most triggers
-- returns     false if there is no such consumer
--             | {id, score, record, attempts or '', token or '', error or '', ...}
if not definition() then
  return false
end
local from = tonumber(ARGV[3])
local page = redis.call('ZRANGE', ARGV[2] == 'dead' and KEYS[7] or OUTBOX, from, from + tonumber(ARGV[4]) - 1,
  'WITHSCORES')
local reply = {}
for index = 1, #page, 2 do
  local id = page[index]
  local fields = redis.call('HMGET', TRIGGERS, id, id .. ':n', id .. ':t', id .. ':e')
  reply[#reply + 1] = id
  reply[#reply + 1] = page[index + 1]
  for field = 1, 4 do
    reply[#reply + 1] = fields[field] or ''
  end
end
return reply
