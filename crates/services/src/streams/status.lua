-- Tells about a group.
--
-- KEYS[1..9]  see stream.lua and group.lua
-- ARGV[1..2]  see group.lua
-- returns     {} if it is not there, or {last entry read, behind which entry it counts, pending, overdue, parked, native pending or -1, dead letters,
--             lag or -1 if the entries have to be counted, fields and values of the group, consumers, 1 if it ends and has nothing left to read}
if redis.call('HEXISTS', HASH, 'options') == 0 then
  return {}
end
local last, native, consumers = redis.call('HGET', HASH, 'last'), -1, {}
if redis.call('EXISTS', STREAM) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', STREAM)) do
    if field(group, 'name') == GROUP then
      last, native = field(group, 'last-delivered-id'), field(group, 'pending')
      consumers = redis.call('XINFO', 'CONSUMERS', STREAM, GROUP)
    end
  end
end

-- Entries are numbered one after the other, so what lies between two of them is known without counting, unless somebody removed some from the middle
-- or added some without numbers.
local function sequence_of(from, to)
  local found = redis.call('XREVRANGE', STREAM, from, to, 'COUNT', 1)[1]
  return found and sequence_in(found[2])
end

local function lag()
  local length = redis.call('XLEN', STREAM)
  local ending = redis.call('HGET', HASH, 'until')
  if length == 0 or (ending and not is_before(last, ending)) then
    return 0
  end
  local first = redis.call('XRANGE', STREAM, '-', '+', 'COUNT', 1)[1]
  local lowest, highest = sequence_in(first[2]), sequence_of('+', '-')
  if not lowest or not highest or highest - lowest + 1 ~= length then
    return -1
  end
  local upper = ending and (sequence_of(ending, '-') or lowest - 1) or highest
  return math.max(0, upper - (sequence_of(last, '-') or lowest - 1))
end

local ending = redis.call('HGET', HASH, 'until')
local overdue = redis.call('ZCOUNT', TIMES, '-inf', now)
local parked = redis.call('ZCOUNT', TIMES, NEVER, '+inf')
return {last, redis.call('HGET', HASH, 'until') or '', redis.call('ZCARD', TIMES), overdue, parked, native, redis.call('XLEN', DEAD),
  lag(), redis.call('HGETALL', HASH), consumers, ending and is_read(ending) and 1 or 0}
