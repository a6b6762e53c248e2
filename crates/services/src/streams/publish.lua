-- Publishes events and changes data beside the stream, all or nothing. An event whose id is remembered is not added again.
--
-- KEYS[1..4]  see stream.lua
-- KEYS[5..6]  ids of entries by identity of the event; identities by when they were added
-- KEYS[7...]  data, one for each effect
-- ARGV[1]     see retain.lua
-- ARGV[2..3]  for how long identities are remembered in ms, and how many
-- ARGV[4]     how many effects there are
-- ARGV[5...]  the effects, see effects.lua
-- ARGV[...]   for each event: a head; if it begins with n, the names of its fields with commas, which are those of the event before otherwise;
--             the values. The head: n or s │ bytes of names and values, 10 digits │ its identity or '' if it has none of its own
-- returns     {'ok', the events' ids with commas, = before those that are there already} | {'full', entries, bytes}
--             | {'misfit', number of the effect} | {'mixed'}: with effects, some events are there already and some are not
--
-- With effects, events that are all there already mean that the call was made before: nothing is done.
local IDS, TIMES = KEYS[5], KEYS[6]
local window, ids_max, effects = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local function forget(identities)
  call_many('HDEL', IDS, identities)
  call_many('ZREM', TIMES, identities)
end

-- Returns the ids of the entries of those events that were added within the window, by their identities.
local function known_of(identities)
  local lasting, known = {}, {}
  for index, at in ipairs(ask_many('ZMSCORE', TIMES, identities)) do
    if at and tonumber(at) > now - window then
      lasting[#lasting + 1] = identities[index]
    end
  end
  for index, id in ipairs(ask_many('HMGET', IDS, lasting)) do
    known[lasting[index]] = id
  end
  return known
end

-- The command that adds an entry with fields of these names, whose values are still to come; how many those are, and how many arguments it has.
local function shape_of(names)
  local command = {'XADD', STREAM, '*'}
  for name in string.gmatch(names, '[^,]+') do
    command[#command + 1] = name
    command[#command + 1] = ''
  end
  command[#command + 1] = 'sequence'
  command[#command + 1] = ''
  return {command = command, values = (#command - 5) / 2, size = #command}
end

-- The events: their shapes, where their values begin, their bytes, their identities; and those identities that there are.
local shapes, starts, sizes, identities, own = {}, {}, {}, {}, {}
local by_names, shape, count, at, last_at = {}, nil, 0, 5 + 3 * effects, #ARGV
while at <= last_at do
  local head = ARGV[at]
  if sub(head, 1, 1) == 'n' then
    at = at + 1
    local names = ARGV[at]
    shape = by_names[names] or shape_of(names)
    by_names[names] = shape
  end
  local identity = sub(head, 12)
  count = count + 1
  shapes[count], starts[count], sizes[count], identities[count] = shape, at + 1, tonumber(sub(head, 2, 11)), identity
  if identity ~= '' then
    own[#own + 1] = identity
  end
  at = at + 1 + shape.values
end

-- An event is there already if it was added within the window, or stands in the call before.
local known, first, adding, bytes = known_of(own), {}, 0, 0
for index = 1, count do
  local identity = identities[index]
  if not known[identity] and not first[identity] then
    adding, bytes = adding + 1, bytes + sizes[index]
    if identity ~= '' then
      first[identity] = index
    end
  end
end

local is_repeated = effects > 0 and adding == 0
if effects > 0 and adding > 0 and adding < count then
  return {'mixed'}
end
local odd = not is_repeated and misfit(effects, 5, 7)
if odd then
  return {'misfit', odd}
end
local full = adding > 0 and admit(ARGV[1], adding, bytes)
if full then
  return full
end

forget(redis.call('ZRANGEBYSCORE', TIMES, '-inf', now - window, 'LIMIT', 0, adding + 10))
local excess = math.min(redis.call('ZCARD', TIMES) + adding - ids_max, adding + 10)
if excess > 0 then
  forget(redis.call('ZRANGE', TIMES, 0, excess - 1))
end

local ids, remembered, times, moment = {}, {}, {}, text(now)
if adding > 0 then
  begin_adding(adding)
end
for index = 1, count do
  local identity = identities[index]
  local earlier = first[identity]
  if known[identity] then
    ids[index] = '=' .. known[identity]
  elseif earlier and earlier < index then
    ids[index] = '=' .. ids[earlier]
  else
    local command, at_value = shapes[index].command, starts[index]
    for value = 0, shapes[index].values - 1 do
      command[5 + 2 * value] = ARGV[at_value + value]
    end
    local id = add(command, shapes[index].size)
    ids[index] = id
    if identity ~= '' then
      remembered[#remembered + 1] = identity
      remembered[#remembered + 1] = id
      times[#times + 1] = moment
      times[#times + 1] = identity
    end
  end
end
if adding > 0 then
  end_adding(bytes)
  call_many('HSET', IDS, remembered)
  call_many('ZADD', TIMES, times)
end
if not is_repeated then
  apply_effects(effects, 5, 7)
end
if adding < count then
  redis.call('HINCRBY', META, 'duplicates', count - adding)
end
wake(nil, adding)
if adding > 0 then
  tell_followers()
end
return {'ok', table.concat(ids, ',')}
