-- Enqueues jobs, all or none. An id that is alive stays as it is.
--
-- KEYS[1..13]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2..3]   most jobs that are not ended, and most bytes of their records
-- ARGV[4...]   for each job: id | priority from -128 to 127, delay, when it is due at the earliest or 0, how long it may wait or 0,
--              timeout of a run or 0; policy, see the last part of a state | record
-- returns      {'ok', for each job n or the place of the one that is there} | {'full', how many there are, their bytes}
local ids = {}
for index = 4, #ARGV, 3 do
  ids[#ids + 1] = ARGV[index]
end
local replies, fresh, bytes, known = {}, {}, 0, {}
for index, state in ipairs(read_many(STATES, ids)) do
  local id = ids[index]
  local place = known[id] or (state and place_of(state))
  if place and LIVE[place] then
    replies[index] = place
  else
    if place then
      -- An ended job makes room for the new one of its name.
      leave(PLACES[place], id)
      records_gone[#records_gone + 1] = id
    end
    replies[index] = 'n'
    fresh[#fresh + 1] = index
    bytes = bytes + #ARGV[3 * index + 3]
    known[id] = 'w'
  end
end
if #fresh == 0 then
  return {'ok', table.concat(replies)}
end

local length = redis.call('ZCARD', WAITING) + redis.call('ZCARD', DELAYED) + redis.call('ZCARD', ACTIVE)
local held = tonumber(redis.call('HGET', META, 'bytes') or 0)
if length + #fresh > tonumber(ARGV[2]) or held + bytes > tonumber(ARGV[3]) then
  return {'full', length, held}
end
save()

local last, created = redis.call('HINCRBY', META, 'seq', #fresh) - #fresh, string.format('%013d', now)
local seen, share, due, expires, timeout, tail
local records = {}
for count, index in ipairs(fresh) do
  local id, record = ids[index], ARGV[3 * index + 3]
  if seen ~= ARGV[3 * index + 2] then
    seen = ARGV[3 * index + 2]
    local priority, delay, at, patience, limit, policy = string.match(seen, '^(%-?%d+),(%d+),(%d+),(%d+),(%d+);(.*)$')
    share = (127 - tonumber(priority)) * 2 ^ 44 + last
    due = math.max(now + tonumber(delay), tonumber(at))
    expires = tonumber(patience) > 0 and now + tonumber(patience) or 0
    timeout = string.format('%013d%010d', expires, limit)
    tail = created .. policy
  end
  local order = share + count
  local place = due > now and 'd' or 'w'
  set_state(id, place .. string.format('%016d', order) .. '000000000000000000000000' .. created .. timeout
    .. string.format('%09d', #record) .. tail)
  if place == 'd' then
    enter(DELAYED, due, id)
  else
    enter(WAITING, order, id)
  end
  if expires > 0 then
    enter(EXPIRY, expires, id)
  end
  records[#records + 1] = id
  records[#records + 1] = record
end
freed = -bytes
save()
write_many('HSET', RECORDS, records)
wake(#fresh)
return {'ok', table.concat(replies)}
