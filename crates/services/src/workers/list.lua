-- Lists workers, those heard of last first.
--
-- KEYS[1..2]  see announce.lua
-- ARGV[1]     how many at most
-- returns     {now, worker, when it was last heard of, record, ...}
local found, ids = redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES'), {}
local reply = {now_ms()}
for index = 1, #found, 2 do
  ids[#ids + 1] = found[index]
end
if #ids > 0 then
  local records = redis.call('HMGET', KEYS[2], unpack(ids))
  for index, id in ipairs(ids) do
    if records[index] then
      reply[#reply + 1] = id
      reply[#reply + 1] = found[2 * index]
      reply[#reply + 1] = records[index]
    end
  end
end
return reply
