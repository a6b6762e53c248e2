-- Settles a reservation, once: takes it back and charges what was really used. See step.lua for KEYS and ARGV; here
-- the cost of a limit is what was used, 0 for a refund.
--
-- ARGV[2]  unused
-- ARGV[3]  id of the reservation
-- ARGV[4]  'commit' or 'refund'
-- ARGV[5]  'remember': asked again, answer the same until the lease would have ended | 'forget'
-- returns  {'absent'} | {'other'}: settled before, in another way | {'ok', units charged to each limit, ...}
local ID, HOW = ARGV[3], ARGV[4]

local claim = HOW
for _, limit in ipairs(limits) do
  claim = claim .. ' ' .. text(limit.cost)
end

local present = false
for _, scope in ipairs(scopes) do
  local record = redis.call('HGET', scope.held, 'h' .. ID)
  local ends = tonumber(redis.call('ZSCORE', scope.holds, ID) or 0)
  if record and ends > NOW then
    present = true
    local before, charged = string.match(record, '^settled\n([^\n]*)\n([^\n]*)$')
    if before and before ~= claim then
      return {'other'}
    end
    if before then
      local reply = {'ok'}
      for units in string.gmatch(charged, '%d+') do
        reply[#reply + 1] = tonumber(units)
      end
      return reply
    end
  end
end
if not present then
  return {'absent'}
end

for _, scope in ipairs(scopes) do
  scope.units = release(scope, ID) or {}
end
local reply, charged = {'ok'}, {}
for index, limit in ipairs(limits) do
  local reserved = limit.scope.units[limit.id]
  local units = 0
  if reserved then
    limit.held = limit.held - reserved
    if limit.cost > 0 then
      units = charge(limit, limit.cost)
    end
  end
  reply[index + 1], charged[index] = units, text(units)
end
for _, scope in ipairs(scopes) do
  if ARGV[5] == 'remember' then
    redis.call('HSET', scope.held, 'h' .. ID, 'settled\n' .. claim .. '\n' .. table.concat(charged, ' '))
  else
    forget(scope, ID)
  end
  keep(scope)
end
return reply
