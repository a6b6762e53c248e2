-- Changes some fields of a session, all of the changes or none.
--
-- KEYS[1..6]  index and session
-- ARGV[1]     proof
-- ARGV[2]     ref
-- ARGV[3]     version the session must have; '' for any
-- ARGV[4]     lifetime from now in ms; 0 leaves the end as it is
-- ARGV[5]     most bytes of all fields
-- ARGV[6]     most fields
-- ARGV[7..]   per change: name; version the field must have, 0 for absent, '' for any; 'set' or 'remove'; JSON
-- returns     {1, version}; {0} no such session; {2, version} the session has another version; {3, n, version} the field
--             of the nth change has; {4, bytes} too large; {5, fields} too many
local FIRST = 7
-- Names of the hash that are no fields, at most: those of session.lua.
local function fields_of(session)
  local held = redis.call('HMGET', session, 'u', 'w', 'p', 'g', 'b', 'k')
  local others = 8
  for index = 1, 6 do
    if held[index] then
      others = others + 1
    end
  end
  return redis.call('HLEN', session) - others
end

if not is_holder() then
  return {0}
end
local held = redis.call('HMGET', SESSION, 'v', 'z')
local version, bytes = tonumber(held[1]), tonumber(held[2])
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= version then
  return {2, version}
end

local fields = fields_of(SESSION)
for index = FIRST, #ARGV, 4 do
  local name, expected, value = ARGV[index], ARGV[index + 1], ARGV[index + 3]
  local present = redis.call('HGET', SESSION, '.' .. name)
  local colon = present and string.find(present, ':', 1, true)
  local of = present and tonumber(string.sub(present, 1, colon - 1)) or 0
  if expected ~= '' and tonumber(expected) ~= of then
    return {3, (index - FIRST) / 4 + 1, of}
  end
  if present then
    bytes = bytes - #name - (#present - colon)
    fields = fields - 1
  end
  if ARGV[index + 2] == 'set' then
    bytes = bytes + #name + #value
    fields = fields + 1
  end
end
if bytes > tonumber(ARGV[5]) then
  return {4, bytes}
end
if fields > tonumber(ARGV[6]) then
  return {5, fields}
end

version = version + 1
redis.call('HSET', SESSION, 'v', version, 'z', bytes)
for index = FIRST, #ARGV, 4 do
  if ARGV[index + 2] == 'set' then
    redis.call('HSET', SESSION, '.' .. ARGV[index], text(version) .. ':' .. ARGV[index + 3])
  else
    redis.call('HDEL', SESSION, '.' .. ARGV[index])
  end
end
if ARGV[4] ~= '0' then
  prolong(ARGV[2], now_ms() + tonumber(ARGV[4]))
end
return {1, version}
