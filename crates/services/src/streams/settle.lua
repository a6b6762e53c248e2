-- Says what became of leased entries.
--
-- KEYS[1..9]  see stream.lua and group.lua
-- ARGV[1..2]  see group.lua
-- ARGV[3...]  for each entry: verb │ token 16 │ id; then, unless the verb is d, two more
--             'd' done    | 'f' failed, cause, ms until it may be taken or ''     | 'g' given up, cause, ''
--             'x' cannot be understood, cause, '' | 'r' released, '', ms until it may be taken
-- returns     for each entry d done, r to be taken again, k dead, - refused: the lease was lost
local known = options()
local letters, done, failed = {}, 0, 0

-- Returns how long to leave an entry alone after so many failures: doubled with each, and between none and a half of it left out.
local function pause_after(failures)
  local pause = math.min(known.retry_cap, known.retry_base * 2 ^ math.min(failures - 1, 40))
  return math.floor(pause * (1 - tonumber(DICE) / 2000000))
end

local function settle(id, record, verb, cause, ms)
  if verb == 'd' then
    finish(id, place_in(record), sub(record, 18, 21) ~= '0000')
    done = done + 1
    return 'd'
  end
  local entry = read(record)
  if verb == 'r' then
    entry.state = 'q'
    write(id, entry, now + tonumber(ms))
    arrived = arrived + 1
    return 'r'
  end
  entry.failures = entry.failures + 1
  failed = failed + 1
  if verb == 'f' and entry.failures < known.attempts_max then
    entry.state = 'r'
    write(id, entry, now + (tonumber(ms) or pause_after(entry.failures)))
    append(new_records, '!' .. id, cause)
    arrived = arrived + 1
    return 'r'
  end
  local reasons = {f = 'failed', g = 'given_up', x = 'poison'}
  bury(id, entry, fields_of(id), reasons[verb], cause)
  return 'k'
end

-- Where the arguments about an entry begin, and its id.
local starts, ids = {}, {}
local at, last = 3, #ARGV
while at <= last do
  local head = ARGV[at]
  starts[#starts + 1], ids[#ids + 1] = at, sub(head, 18)
  at = sub(head, 1, 1) == 'd' and at + 1 or at + 3
end
local records, said = known and ask_many('HMGET', RECORDS, ids) or {}, {}
for index, id in ipairs(ids) do
  local record, head = records[index], ARGV[starts[index]]
  if record and not said[id] and sub(record, 1, 1) == 'a' and sub(record, 2, 17) == sub(head, 2, 17) then
    -- The lease has ended with that.
    said[id] = true
    letters[index] = settle(id, record, sub(head, 1, 1), ARGV[starts[index] + 1], ARGV[starts[index] + 2])
  else
    letters[index] = '-'
  end
end
save()
if done > 0 then
  redis.call('HINCRBY', HASH, 'acknowledged', text(done))
end
if failed > 0 then
  redis.call('HINCRBY', HASH, 'failed', text(failed))
end
wake(GROUP, arrived)
return table.concat(letters)
