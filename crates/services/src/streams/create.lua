-- Makes a group.
--
-- KEYS[1..9]  see stream.lua and group.lua
-- ARGV[1..2]  see group.lua
-- ARGV[3]     most groups of a stream
-- ARGV[4]     options, see group.lua
-- ARGV[5]     behind which entry it begins; $ behind the last, = where a group that others made is
-- ARGV[6..8]  the last entry of it, types and keys of its events; '' for all
-- returns     1 if it was made, 0 if it was there, 2 if one that others made was taken over, -1 if there are too many
if redis.call('HEXISTS', HASH, 'options') == 1 then
  return 0
end
if redis.call('ZCARD', GROUPS) >= tonumber(ARGV[3]) then
  return -1
end
local begin, is_there, native = ARGV[5], 0, nil
if redis.call('EXISTS', STREAM) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', STREAM)) do
    if field(group, 'name') == GROUP then
      is_there, native = 1, field(group, 'last-delivered-id')
    end
  end
end
local result = 1
if is_there == 1 then
  begin, result = native, 2
else
  redis.call('XGROUP', 'CREATE', STREAM, GROUP, begin, 'MKSTREAM')
end
if begin == '$' then
  begin = field(redis.call('XINFO', 'STREAM', STREAM), 'last-generated-id')
end
redis.call('DEL', HASH)
redis.call('HSET', HASH, 'options', ARGV[4], 'last', begin, 'created', now)
-- From which entry on it can tell that it missed some.
local before = redis.call('XREVRANGE', STREAM, begin, '-', 'COUNT', 1)[1]
local sequence = before and sequence_in(before[2])
if sequence then
  redis.call('HSET', HASH, 'read', text(sequence))
end
for index, name in ipairs({'until', 'types', 'keys'}) do
  if ARGV[5 + index] ~= '' then
    redis.call('HSET', HASH, name, ARGV[5 + index])
  end
end
redis.call('ZADD', GROUPS, now, 'o' .. GROUP)
redis.call('ZREM', GROUPS, 'f' .. GROUP)
return result
