-- Begins the leases of entries anew.
--
-- KEYS[1..9]  see stream.lua and group.lua
-- ARGV[1..2]  see group.lua
-- ARGV[3]     how long they last from now, in ms
-- ARGV[4...]  for each entry: id, token
-- returns     for each entry a, or - if the lease was lost
local letters = {}
for at = 4, #ARGV, 2 do
  local id = ARGV[at]
  local record = redis.call('HGET', RECORDS, id)
  local entry = record and read(record)
  if entry and entry.state == 'a' and entry.token == tonumber(ARGV[at + 1]) then
    redis.call('ZADD', TIMES, now + tonumber(ARGV[3]), id)
    -- Whoever looks at the native list sees that it is alive too; a group that was destroyed is restored by who takes next.
    redis.pcall('XCLAIM', STREAM, GROUP, entry.consumer, 0, id, 'JUSTID')
    letters[#letters + 1] = 'a'
  else
    letters[#letters + 1] = '-'
  end
end
if #letters > 0 and redis.call('HEXISTS', HASH, 'options') == 1 then
  for _, mark in ipairs({'o', 'd'}) do
    redis.call('ZADD', GROUPS, 'XX', now, mark .. GROUP)
  end
end
return table.concat(letters)
