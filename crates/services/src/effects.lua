-- Changes of data beside a service's own: three arguments and one key for each.
--
--   'set', value, ms it lives or 0 | 'add', number, '' | 'delete', '', '' | 'field', name, value | 'push', value, ''
local EFFECT_TYPES = {add = 'string', field = 'hash', push = 'list'}

-- Returns the number of the first effect that does not fit what its key holds; nil if all do.
local function misfit(count, first_arg, first_key)
  for index = 0, count - 1 do
    local verb, key = ARGV[first_arg + 3 * index], KEYS[first_key + index]
    local kind = redis.call('TYPE', key).ok
    if EFFECT_TYPES[verb] and kind ~= 'none' and kind ~= EFFECT_TYPES[verb] then
      return index + 1
    end
    if verb == 'add' then
      local held = kind == 'none' and '0' or redis.call('GET', key)
      -- Integers that Lua holds exactly.
      local sum = string.match(held, '^%-?%d+$') and tonumber(held) + tonumber(ARGV[first_arg + 1 + 3 * index])
      if not sum or math.abs(tonumber(held)) > 2 ^ 53 or math.abs(sum) > 2 ^ 53 then
        return index + 1
      end
    end
  end
end

-- Applies effects that fit.
local function apply_effects(count, first_arg, first_key)
  for index = 0, count - 1 do
    local at, key = first_arg + 3 * index, KEYS[first_key + index]
    local verb, what, more = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    if verb == 'set' then
      if more == '0' then
        redis.call('SET', key, what)
      else
        redis.call('SET', key, what, 'PX', more)
      end
    elseif verb == 'add' then
      redis.call('INCRBY', key, what)
    elseif verb == 'delete' then
      redis.call('DEL', key)
    elseif verb == 'field' then
      redis.call('HSET', key, what, more)
    else
      redis.call('RPUSH', key, what)
    end
  end
end
