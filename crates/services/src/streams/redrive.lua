-- Publishes dead letters of a group again, for that group only.
--
-- KEYS[1..9]  see stream.lua and group.lua
-- ARGV[1..2]  see group.lua
-- ARGV[3]     see retain.lua
-- ARGV[4]     data that takes the place of a single one's, behind a 1; 0 if it stays
-- ARGV[5...]  ids of dead letters
-- returns     {'ok', how many} | {'full', entries, bytes} | {'ends'}: it reads no entries that are added now
if redis.call('HEXISTS', HASH, 'until') == 1 then
  return {'ends'}
end
local letters, is_edited, data = {}, string.sub(ARGV[4], 1, 1) == '1', string.sub(ARGV[4], 2)
local named = {}
for index = 5, #ARGV do
  if not named[ARGV[index]] then
    named[ARGV[index]] = true
    letters[#letters + 1] = redis.call('XRANGE', DEAD, ARGV[index], ARGV[index])[1]
  end
end

local OWN = {dlorigin = true, dlreason = true, dlcause = true, dlattempts = true, dllost = true, sequence = true, redriveto = true}
local events, bytes = {}, 0
for _, letter in ipairs(letters) do
  local command, size, has_data = {'XADD', STREAM, '*'}, 3, false
  local function put(name, value)
    command[size + 1], command[size + 2] = name, value
    size, bytes = size + 2, bytes + #name + #value
  end
  for index = 1, #letter[2] - 1, 2 do
    local name, value = letter[2][index], letter[2][index + 1]
    if name == 'data' and is_edited then
      value, has_data = data, true
    end
    if not OWN[name] then
      put(name, value)
    end
  end
  -- Of an entry that was gone there is nothing to publish.
  if size > 3 then
    if is_edited and not has_data then
      put('data', data)
    end
    put('redriveto', GROUP)
    command[size + 1] = 'sequence'
    events[#events + 1] = {letter[1], command, size + 2}
  end
end
if #events == 0 then
  return {'ok', 0}
end
local full = admit(ARGV[3], #events, bytes)
if full then
  return full
end
begin_adding(#events)
for _, event in ipairs(events) do
  add(event[2], event[3])
  redis.call('XDEL', DEAD, event[1])
end
end_adding(bytes)
wake(GROUP, #events)
return {'ok', #events}
