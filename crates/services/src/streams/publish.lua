-- Publishes events and changes data beside the stream, all or nothing. An event whose id is remembered is not added again.
--
-- KEYS[1..4]  see stream.lua
-- KEYS[5..6]  ids of entries by identity of the event; identities by when they were added
-- KEYS[7...]  data, one for each effect
-- ARGV[1]     see retain.lua
-- ARGV[2..3]  for how long identities are remembered in ms, and how many
-- ARGV[4]     how many effects there are
-- ARGV[5...]  the effects, see effects.lua
-- ARGV[...]   for each event: its identity or '' if it has none of its own; how many fields and values; these
-- returns     {'ok', for each event n (new) or d (there already), {their ids}} | {'full', entries, bytes} | {'misfit', number of the effect}
--             | {'mixed'}: with effects, some events are there already and some are not
--
-- With effects, events that are all there already mean that the call was made before: nothing is done.
local IDS, TIMES = KEYS[5], KEYS[6]
local window, ids_max, effects = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local function forget(identities)
  for _, identity in ipairs(identities) do
    redis.call('HDEL', IDS, identity)
    redis.call('ZREM', TIMES, identity)
  end
end

-- Returns the id of the entry of an event that was added within the window.
local function known(identity)
  local at = redis.call('ZSCORE', TIMES, identity)
  return at and tonumber(at) > now - window and redis.call('HGET', IDS, identity)
end

local events, adding, bytes, earlier, letters, ids = {}, 0, 0, {}, {}, {}
local at = 5 + 3 * effects
while at <= #ARGV do
  local identity, count = ARGV[at], tonumber(ARGV[at + 1])
  local event = {identity = identity, fields = {unpack(ARGV, at + 2, at + 1 + count)}}
  events[#events + 1] = event
  if identity ~= '' then
    event.known = known(identity)
    event.twin = earlier[identity]
    earlier[identity] = earlier[identity] or #events
  end
  if not event.known and not event.twin then
    adding = adding + 1
    bytes = bytes + size_of(event.fields)
  end
  at = at + 2 + count
end

local is_repeated = effects > 0 and adding == 0
if effects > 0 and adding > 0 and adding < #events then
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
for index, event in ipairs(events) do
  local id = event.known or (event.twin and ids[event.twin])
  letters[index] = id and 'd' or 'n'
  if not id then
    id = add(event.fields)
    if event.identity ~= '' then
      redis.call('HSET', IDS, event.identity, id)
      redis.call('ZADD', TIMES, now, event.identity)
    end
  end
  ids[index] = id
end
if not is_repeated then
  apply_effects(effects, 5, 7)
end
redis.call('HINCRBY', META, 'duplicates', #events - adding)
wake(nil, adding)
if adding > 0 then
  tell_followers()
end
return {'ok', table.concat(letters), ids}
