-- Shared by the steps over limits: what they are given, and what is reserved.
--
-- KEYS        four per scope: block, own amounts, reservations, reserved units; then two per limit: state, ladder
-- ARGV[1]     number of scopes
-- ARGV[2..5]  the step's own
-- ARGV[6..]   fourteen per limit: number of its scope, id (unique in the scope), name, algorithm, limit, window in ms,
--             burst, debt, cost, 1 if shadow, then its ladder: refusals (0 for none), within ms, forgotten after ms,
--             lengths of the blocks in ms joined by commas
--
-- block         hash: until (ms, 0 for ever), reason
-- own amounts   hash: name of a limit -> 'limit:burst:until', until 0 for ever
-- reservations  sorted set: id, scored by the ms its lease ends
-- reserved      hash: 's'..limit id -> units reserved; 'h'..reservation id -> lines: 'open', then limit id and units of
--               each limit; or, once settled, 'settled', how, and what was charged
-- ladder        hash: start (ms) and count of the refusals, step reached, ends (ms) of the last block
local PER_SCOPE, PER_LIMIT, LIMIT_ARGS, FIRST = 4, 2, 14, 6
-- How many ended reservations of a scope a step removes. It adds one at most, so they cannot pile up.
local PRUNE_STEP = 64
-- Limit or burst, plus debt, times window: keeps sums exact.
local MAX_CAPACITY = 2 ^ 52
local MAX_LOG_LIMIT = 100000

local ALGORITHMS = {f = fixed_window, l = sliding_log, c = sliding_counter, b = token_bucket}

local scopes, limits = {}, {}
for index = 1, tonumber(ARGV[1]) do
  local base = (index - 1) * PER_SCOPE
  scopes[index] = {block = KEYS[base + 1], own = KEYS[base + 2], holds = KEYS[base + 3], held = KEYS[base + 4]}
end
for index = 1, (#ARGV - FIRST + 1) / LIMIT_ARGS do
  local arg, key = FIRST + (index - 1) * LIMIT_ARGS, #scopes * PER_SCOPE + (index - 1) * PER_LIMIT
  limits[index] = {
    scope = scopes[tonumber(ARGV[arg])], scope_index = tonumber(ARGV[arg]),
    state = KEYS[key + 1], ladder = KEYS[key + 2],
    id = ARGV[arg + 1], name = ARGV[arg + 2], algorithm = ARGV[arg + 3],
    limit = tonumber(ARGV[arg + 4]), window = tonumber(ARGV[arg + 5]), burst = tonumber(ARGV[arg + 6]),
    debt = tonumber(ARGV[arg + 7]), cost = tonumber(ARGV[arg + 8]), shadow = ARGV[arg + 9] == '1',
    refusals = tonumber(ARGV[arg + 10]), within = tonumber(ARGV[arg + 11]), forget = tonumber(ARGV[arg + 12]),
    blocks = ARGV[arg + 13],
  }
end

-- Takes a reservation out of the sums. Returns its units by limit id, nil if it is not there or settled.
local function release(scope, id)
  local record = redis.call('HGET', scope.held, 'h' .. id)
  if not record or string.sub(record, 1, 5) ~= 'open\n' then
    return nil
  end
  local units = {}
  for limit_id, count in string.gmatch(string.sub(record, 6), '([^\n]+)\n(%d+)\n') do
    units[limit_id] = tonumber(count)
    if redis.call('HINCRBY', scope.held, 's' .. limit_id, -tonumber(count)) == 0 then
      redis.call('HDEL', scope.held, 's' .. limit_id)
    end
  end
  return units
end

local function forget(scope, id)
  redis.call('HDEL', scope.held, 'h' .. id)
  redis.call('ZREM', scope.holds, id)
end

-- Ends what has outlived its lease, and looks whether anything is reserved.
for _, scope in ipairs(scopes) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', scope.holds, '-inf', text(NOW), 'LIMIT', 0, PRUNE_STEP)) do
    release(scope, id)
    forget(scope, id)
  end
  local last = redis.call('ZRANGE', scope.holds, -1, -1, 'WITHSCORES')
  scope.last_end = tonumber(last[2] or 0)
  if not last[1] then
    -- Should the store have evicted the one key, the other says nothing any more.
    redis.call('DEL', scope.held)
  end
end

-- Lets the keys of reservations live as long as the last of them.
local function keep(scope)
  local last = redis.call('ZRANGE', scope.holds, -1, -1, 'WITHSCORES')
  if last[2] then
    redis.call('PEXPIREAT', scope.holds, last[2])
    redis.call('PEXPIREAT', scope.held, last[2])
  end
end

-- Puts the amounts of the limit's own scope in place of the policy's, and looks how much is reserved.
for _, limit in ipairs(limits) do
  local own = redis.call('HGET', limit.scope.own, limit.name)
  if own then
    local amount, burst, until_ms = string.match(own, '^(%d+):(%d+):(%d+)$')
    if until_ms == '0' or tonumber(until_ms) > NOW then
      local most = math.floor(MAX_CAPACITY / limit.window) - limit.debt
      if limit.algorithm == 'l' then
        most = math.min(most, MAX_LOG_LIMIT)
      end
      limit.limit, limit.burst = math.min(most, tonumber(amount)), math.min(most, tonumber(burst))
    end
  end
  limit.capacity = limit.algorithm == 'b' and limit.burst or limit.limit
  limit.held = 0
  if limit.scope.last_end > 0 then
    limit.held = tonumber(redis.call('HGET', limit.scope.held, 's' .. limit.id) or 0)
  end
end

local function ask(limit, cost, take, slack)
  return ALGORITHMS[limit.algorithm](limit.state, limit.limit, limit.window, cost, take, limit.burst, limit.debt, slack)
end

-- Charges units after the fact: as many as leave reservations untouched, and `debt` more. Negative units are given
-- back, as many as were used at most. Returns how many it were.
local function charge(limit, units)
  local free = ask(limit, 1, false, 0).free
  if units < 0 then
    units = math.max(units, math.min(0, free - limit.capacity))
  else
    units = math.min(units, math.max(0, free - limit.held + limit.debt))
  end
  if units ~= 0 then
    ask(limit, units, true, limit.debt + limit.held)
  end
  return units
end
