-- Has dead jobs wait again, as new ones, all or none.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2..3]   most jobs that are not ended, and most bytes of their records
-- ARGV[4...]   for each job: id, another payload behind its mark (j or b) or '' for the one it has
-- returns      {'ok', for each job n waits, otherwise its place, - there is none} | {'full', how many there are, their bytes}
local ids = {}
for index = 4, #ARGV, 2 do
  ids[#ids + 1] = ARGV[index]
end
local replies, revived, edited, bytes, seen = {}, {}, {}, 0, {}
for index, state in ipairs(read_many(STATES, ids)) do
  local id, payload = ids[index], ARGV[2 * index + 3]
  local place = seen[id] or (state and place_of(state)) or '-'
  if place == 'k' then
    if payload ~= '' then
      -- The name stays with its length before it, and so do headers: see payload.rs.
      local old, mark = redis.call('HGET', RECORDS, id), string.sub(payload, 1, 1)
      local length = string.match(old, '^.(%d+):')
      local last = 2 + #length + length
      if string.match(old, '^%u') then
        mark, length = string.upper(mark), string.match(old, '^(%d+):', last + 1)
        last = last + #length + 1 + length
      end
      local record = mark .. string.sub(old, 2, last) .. string.sub(payload, 2)
      state = string.sub(state, 1, 77) .. string.format('%09d', #record) .. string.sub(state, 87)
      edited[#edited + 1] = id
      edited[#edited + 1] = record
    end
    bytes = bytes + number(state, 78, 86)
    revived[#revived + 1] = {id, state}
    replies[index], seen[id] = 'n', 'w'
  else
    replies[index] = place
  end
end
local length, held = held_now()
if #revived > 0 and (length + #revived > tonumber(ARGV[2]) or held + bytes > tonumber(ARGV[3])) then
  return {'full', length, held}
end
for _, job in ipairs(revived) do
  revive(job[1], job[2])
end
save()
write_many('HSET', RECORDS, edited)
wake(arrived)
return {'ok', table.concat(replies)}
