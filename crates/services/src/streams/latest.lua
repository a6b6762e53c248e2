-- Finds the first of the latest so many entries, leaving out dead letters that were redriven.
--
-- KEYS[1..4]  see stream.lua
-- ARGV[1]     how many
-- returns     its id, or '' if there is none

-- Entries read at once.
local SOME = 8

local most, found, before, first = tonumber(ARGV[1]), 0, '+', ''
while found < most do
  local some = redis.call('XREVRANGE', STREAM, before, '-', 'COUNT', SOME)
  for _, entry in ipairs(some) do
    if found < most and not field(entry[2], 'redriveto') then
      found = found + 1
      first = entry[1]
    end
    before = '(' .. entry[1]
  end
  if #some < SOME then
    break
  end
end
return first
