-- Says what became of leased entries.
--
-- KEYS[1..9]  see stream.lua and group.lua
-- ARGV[1..2]  see group.lua
-- ARGV[3...]  for each entry: id, token, then
--             'd' done, '', ''                 | 'f' failed, cause, ms until it may be taken or '' | 'g' given up, cause, ''
--             'x' cannot be understood, cause, '' | 'r' released, '', ms until it may be taken
-- returns     for each entry d done, r to be taken again, k dead, - refused: the lease was lost
local known = options()
local letters = {}

-- Returns how long to leave an entry alone after so many failures: doubled with each, and between none and a half of it left out.
local function pause_after(failures)
  local pause = math.min(known.retry_cap, known.retry_base * 2 ^ math.min(failures - 1, 40))
  return math.floor(pause * (1 - tonumber(DICE) / 2000000))
end

local function settle(id, entry, verb, cause, ms)
  if verb == 'd' then
    finish(id, entry)
    redis.call('HINCRBY', HASH, 'acknowledged', 1)
    return 'd'
  end
  if verb == 'r' then
    entry.state = 'q'
    write(id, entry, now + tonumber(ms))
    arrived = arrived + 1
    return 'r'
  end
  entry.failures = entry.failures + 1
  redis.call('HINCRBY', HASH, 'failed', 1)
  if verb == 'f' and entry.failures < known.attempts_max then
    entry.state = 'r'
    write(id, entry, now + (tonumber(ms) or pause_after(entry.failures)))
    redis.call('HSET', RECORDS, '!' .. id, cause)
    arrived = arrived + 1
    return 'r'
  end
  local reasons = {f = 'failed', g = 'given_up', x = 'poison'}
  bury(id, entry, fields_of(id), reasons[verb], cause)
  return 'k'
end

for at = 3, #ARGV, 5 do
  local id = ARGV[at]
  local record = known and redis.call('HGET', RECORDS, id)
  local entry = record and read(record)
  if entry and entry.state == 'a' and entry.token == tonumber(ARGV[at + 1]) then
    letters[#letters + 1] = settle(id, entry, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
  else
    letters[#letters + 1] = '-'
  end
end
wake(GROUP, arrived)
return table.concat(letters)
