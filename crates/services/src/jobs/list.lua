-- Lists jobs of one place, or of several, one after the other.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      places: some of w d a p c x o k
-- ARGV[2..3]   how many to pass over, and how many to list: of the waiting the next first, those of groups behind the others, group by group; of the delayed
--              and active the soonest, of the ended the latest
-- returns      {id, state, record or nil, progress or nil, what went wrong last or nil, score, ...}
local skip, room = tonumber(ARGV[2]), tonumber(ARGV[3])
local found, ids, fields = {}, {}, {}

-- Lists what is left to list of a sorted set, and passes over what is left to pass over. `form` takes the id out of a member.
local function list(key, command, form)
  local last = skip + room - #found / 2 - 1
  if last >= skip then
    local some = redis.call(command, key, skip, last, 'WITHSCORES')
    for index = 1, #some, 2 do
      found[#found + 1] = form and string.match(some[index], form) or some[index]
      found[#found + 1] = some[index + 1]
    end
    skip = math.max(0, skip - redis.call('ZCARD', key))
  end
end

for place in string.gmatch(ARGV[1], '.') do
  list(PLACES[place], LIVE[place] and 'ZRANGE' or 'ZREVRANGE')
  if place == 'w' and redis.call('HEXISTS', META, 'grouped') == 1 then
    list(GROUPED, 'ZRANGE', '^[^\1]*\1' .. string.rep('%d', 16) .. '(.*)$')
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
