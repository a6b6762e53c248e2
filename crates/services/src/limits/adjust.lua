-- Charges units beside any request, or gives units back. See step.lua for KEYS and ARGV; the cost is in units.
--
-- ARGV[2]  'penalty' or 'reward'
-- returns  {now, {units charged or given back, remaining, reset_at of each limit, ...}}
local SIGN = ARGV[2] == 'penalty' and 1 or -1

local reply = {}
for _, limit in ipairs(limits) do
  local units = charge(limit, SIGN * limit.cost)
  local answer = ask(limit, 1, false, 0)
  reply[#reply + 1] = SIGN * units
  reply[#reply + 1] = math.max(0, answer.free - limit.held)
  reply[#reply + 1] = answer.reset_at
end
return {NOW, reply}
