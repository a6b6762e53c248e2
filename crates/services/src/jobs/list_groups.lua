-- Counts the jobs of groups that have any that wait or are active, in the order of their names.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      a name: groups behind it are listed, all if it is ''
-- ARGV[2]      how many, or '' for the group of that name only
-- returns      {group, how many of its jobs wait, how many are active, how many may be or -1, after how many ms the
--              next may be leased, ...}
local reply = {}

local function add(group)
  reply[#reply + 1] = group
  reply[#reply + 1] = groups().count_of(GROUPED, group)
  reply[#reply + 1] = groups().count_of(HELD, group)
  reply[#reply + 1] = groups().max_of(group) or -1
  reply[#reply + 1] = groups().rest_of(group)
end

-- By bytes, as the store orders them, whatever the locale.
local function is_before(one, other)
  for at = 1, math.min(#one, #other) do
    local left, right = string.byte(one, at), string.byte(other, at)
    if left ~= right then
      return left < right
    end
  end
  return #one < #other
end

if ARGV[2] == '' then
  add(ARGV[1])
  return reply
end
local name = ARGV[1]
for _ = 1, ARGV[2] do
  local one, other = groups().next_after(GROUPED, name), groups().next_after(HELD, name)
  if one and other then
    name = is_before(one, other) and one or other
  else
    name = one or other
  end
  if not name then
    break
  end
  add(name)
end
return reply
