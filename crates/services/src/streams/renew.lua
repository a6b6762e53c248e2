-- Begins the leases of entries anew.
--
-- KEYS[1..9]  see stream.lua and group.lua
-- ARGV[1..2]  see group.lua
-- ARGV[3]     how long they last from now, in ms
-- ARGV[4...]  for each entry: id, token
-- returns     for each entry a, or - if the lease was lost
local letters, ids, consumers, ends = {}, {}, {}, text(now + tonumber(ARGV[3]))
for at = 4, #ARGV, 2 do
  ids[#ids + 1] = ARGV[at]
end
for index, record in ipairs(ask_many('HMGET', RECORDS, ids)) do
  local entry = record and read(record)
  if entry and entry.state == 'a' and entry.token == tonumber(ARGV[3 + 2 * index]) then
    append(new_times, ends, ids[index])
    consumers[entry.consumer] = consumers[entry.consumer] or {}
    table.insert(consumers[entry.consumer], ids[index])
    letters[index] = 'a'
  else
    letters[index] = '-'
  end
end
save()
-- Whoever looks at the native list sees that they are alive too; a group that was destroyed is restored by who takes next.
for consumer, alive in pairs(consumers) do
  alive[#alive + 1] = 'JUSTID'
  redis.pcall('XCLAIM', STREAM, GROUP, consumer, 0, unpack(alive))
end
if #letters > 0 and redis.call('HEXISTS', HASH, 'options') == 1 then
  for _, mark in ipairs({'o', 'd'}) do
    redis.call('ZADD', GROUPS, 'XX', now, mark .. GROUP)
  end
end
return table.concat(letters)
