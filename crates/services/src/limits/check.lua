-- Asks several limits at one moment: all of them admit, or nothing is consumed. See step.lua for KEYS and ARGV.
--
-- ARGV[2]  'take' | 'peek': changes nothing | 'hold': reserves instead of consuming
-- ARGV[3]  id of the reservation
-- ARGV[4]  length of its lease in ms
-- ARGV[5]  most reservations of a scope
-- returns  {'above', index of the limit, capacity}: can never be admitted | {'crowded', index of the scope}
--          | {'ok', 1 if admitted, now, {scope, until, reason of each block, ...}, blocks begun by this step,
--             {allowed, capacity, limit, remaining, reset_at, retry_after of each limit, ...}}
local MODE, ID, LEASE = ARGV[2], ARGV[3], tonumber(ARGV[4])

local blocks, begun = {}, 0
local function report_block(index, until_ms, reason)
  blocks[#blocks + 1] = index
  blocks[#blocks + 1] = until_ms
  blocks[#blocks + 1] = reason
end

for index, scope in ipairs(scopes) do
  local fields = redis.call('HMGET', scope.block, 'until', 'reason')
  local until_ms = tonumber(fields[1] or -1)
  if until_ms == 0 or until_ms > NOW then
    report_block(index, until_ms, fields[2] or '')
  end
end
local blocked = #blocks > 0

-- Asks a limit without consuming; what is reserved counts as used.
local function look(limit)
  local need = limit.cost + limit.held
  local answer = ask(limit, math.min(need, limit.capacity), false, 0)
  if need > limit.capacity then
    answer.allowed = false
  end
  if limit.cost <= limit.capacity and limit.held > 0 and not answer.allowed then
    -- Either what was used comes back, or the reservations end first.
    local settled = math.max(ask(limit, limit.cost, false, 0).retry_after, limit.scope.last_end - NOW)
    answer.retry_after = need > limit.capacity and settled or math.min(answer.retry_after, settled)
  end
  answer.free = answer.free - limit.held
  return answer
end

local admitted = not blocked
for index, limit in ipairs(limits) do
  if limit.cost > limit.capacity and not limit.shadow then
    return {'above', index, limit.capacity}
  end
  limit.answer = look(limit)
  if not limit.answer.allowed and not limit.shadow then
    admitted = false
  end
end
if admitted and MODE == 'hold' then
  for index, scope in ipairs(scopes) do
    if redis.call('ZCARD', scope.holds) >= tonumber(ARGV[5]) then
      return {'crowded', index}
    end
  end
end

-- Counts a refusal, and blocks the scope when there were too many.
local function escalate(limit)
  local fields = redis.call('HMGET', limit.ladder, 'start', 'count', 'step', 'ends')
  local start, count = tonumber(fields[1] or NOW), tonumber(fields[2] or 0)
  local step, ends = tonumber(fields[3] or 0), tonumber(fields[4] or 0)
  if start > NOW or NOW - start >= limit.within then
    start, count = NOW, 0
  end
  if NOW - ends >= limit.forget then
    step = 0
  end
  count = count + 1
  if count >= limit.refusals then
    local lengths = {}
    for length in string.gmatch(limit.blocks, '%d+') do
      lengths[#lengths + 1] = tonumber(length)
    end
    start, count, step = NOW, 0, math.min(step + 1, #lengths)
    ends = NOW + lengths[step]
    local reason = 'too many refusals by ' .. limit.name
    redis.call('HSET', limit.scope.block, 'until', text(ends), 'reason', reason)
    redis.call('PEXPIREAT', limit.scope.block, text(ends))
    report_block(limit.scope_index, ends, reason)
    begun = begun + 1
  end
  redis.call('HSET', limit.ladder, 'start', text(start), 'count', count, 'step', step, 'ends', text(ends))
  redis.call('PEXPIREAT', limit.ladder, text(math.max(start + limit.within, ends + limit.forget)))
end

local function hold()
  local records = {}
  for index in ipairs(scopes) do
    records[index] = 'open\n'
  end
  for _, limit in ipairs(limits) do
    if limit.answer.allowed then
      redis.call('HINCRBY', limit.scope.held, 's' .. limit.id, limit.cost)
      records[limit.scope_index] = records[limit.scope_index] .. limit.id .. '\n' .. text(limit.cost) .. '\n'
      limit.answer.free = limit.answer.free - limit.cost
    end
  end
  for index, scope in ipairs(scopes) do
    redis.call('HSET', scope.held, 'h' .. ID, records[index])
    redis.call('ZADD', scope.holds, text(NOW + LEASE), ID)
    keep(scope)
  end
end

if admitted and MODE == 'hold' then
  hold()
elseif admitted and MODE == 'take' then
  for _, limit in ipairs(limits) do
    if limit.answer.allowed then
      limit.answer = ask(limit, limit.cost, true, 0)
      limit.answer.free = limit.answer.free - limit.held
    end
  end
elseif not blocked and MODE ~= 'peek' then
  for _, limit in ipairs(limits) do
    if not limit.answer.allowed and not limit.shadow and limit.refusals > 0 then
      escalate(limit)
    end
  end
end

local answers = {}
for _, limit in ipairs(limits) do
  local answer = limit.answer
  for _, number in ipairs({answer.allowed and 1 or 0, limit.capacity, limit.limit, math.max(0, answer.free),
    answer.reset_at, answer.allowed and 0 or math.max(1, answer.retry_after)}) do
    answers[#answers + 1] = number
  end
end
return {'ok', admitted and 1 or 0, NOW, blocks, begun, answers}
