-- Lists jobs of one place.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      place: w d a p c x o k
-- ARGV[2..3]   how many to pass over, and how many to list: of the waiting the next first, those of groups behind the others, group by group; of the delayed
--              and active the soonest, of the ended the latest
-- returns      {id, state, record or nil, progress or nil, what went wrong last or nil, score, ...}
local first, last = tonumber(ARGV[2]), ARGV[2] + ARGV[3] - 1
local command = LIVE[ARGV[1]] and 'ZRANGE' or 'ZREVRANGE'
local found, ids, fields = redis.call(command, PLACES[ARGV[1]], first, last, 'WITHSCORES'), {}, {}
if ARGV[1] == 'w' and redis.call('HEXISTS', META, 'grouped') == 1 and #found < 2 * ARGV[3] then
  local passed = redis.call('ZCARD', WAITING)
  local more = redis.call('ZRANGE', GROUPED, math.max(first - passed, 0), last - passed)
  for _, member in ipairs(more) do
    found[#found + 1] = string.match(member, '^[^\1]*\1' .. string.rep('%d', 16) .. '(.*)$')
    found[#found + 1] = '0'
  end
end
for index = 1, #found, 2 do
  ids[#ids + 1] = found[index]
  fields[#fields + 1] = 'p' .. found[index]
  fields[#fields + 1] = 'e' .. found[index]
end
local states, records, notes = read_many(STATES, ids), read_many(RECORDS, ids), read_many(NOTES, fields)
local reply = {}
for index, id in ipairs(ids) do
  local at = 6 * index - 5
  reply[at], reply[at + 1], reply[at + 2] = id, states[index], records[index]
  reply[at + 3], reply[at + 4], reply[at + 5] = notes[2 * index - 1], notes[2 * index], found[2 * index]
end
return reply
