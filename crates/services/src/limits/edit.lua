-- Changes what stands about a scope, and notes the change.
--
-- KEYS[1]  block
-- KEYS[2]  own amounts
-- KEYS[3]  history  list: 'ms\nvalue before\nnote', the latest first
-- ARGV[1]  'block' | 'unblock' | 'set' | 'remove'
-- ARGV[2]  block: length in ms, 0 for ever; set: 'limit:burst'; else ''
-- ARGV[3]  block: reason; set and remove: name of the limit
-- ARGV[4]  set: how long it holds in ms, 0 for ever
-- ARGV[5]  note
-- ARGV[6]  most entries of the history
-- ARGV[7]  how long the history is kept after the last change, in ms
-- ARGV[8]  most own amounts
-- returns  {now, until ms (0 for ever), what stood there before or ''} | 'full'
local now, before, until_ms = now_ms(), '', 0
local length = tonumber(ARGV[1] == 'set' and ARGV[4] or ARGV[2]) or 0
if length > 0 then
  until_ms = now + length
end

if ARGV[1] == 'block' or ARGV[1] == 'unblock' then
  local old = tonumber(redis.call('HGET', KEYS[1], 'until') or -1)
  if old == 0 or old > now then
    before = text(old)
  end
  redis.call('DEL', KEYS[1])
  if ARGV[1] == 'block' then
    redis.call('HSET', KEYS[1], 'until', text(until_ms), 'reason', ARGV[3])
    if until_ms > 0 then
      redis.call('PEXPIREAT', KEYS[1], text(until_ms))
    end
  end
else
  local all = redis.call('HGETALL', KEYS[2])
  for index = 1, #all, 2 do
    local ends = tonumber(string.match(all[index + 1], '(%d+)$'))
    if ends > 0 and ends <= now then
      redis.call('HDEL', KEYS[2], all[index])
    end
  end
  before = redis.call('HGET', KEYS[2], ARGV[3]) or ''
  if ARGV[1] == 'remove' then
    redis.call('HDEL', KEYS[2], ARGV[3])
  elseif before == '' and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[8]) then
    return 'full'
  else
    redis.call('HSET', KEYS[2], ARGV[3], ARGV[2] .. ':' .. text(until_ms))
  end
  -- They go with the one that ends last, unless one holds for ever.
  local last, for_ever = 0, false
  local left = redis.call('HGETALL', KEYS[2])
  for index = 2, #left, 2 do
    local ends = tonumber(string.match(left[index], '(%d+)$'))
    last, for_ever = math.max(last, ends), for_ever or ends == 0
  end
  if for_ever then
    redis.call('PERSIST', KEYS[2])
  else
    redis.call('PEXPIREAT', KEYS[2], text(last))
  end
end
redis.call('LPUSH', KEYS[3], text(now) .. '\n' .. before .. '\n' .. ARGV[5])
redis.call('LTRIM', KEYS[3], 0, tonumber(ARGV[6]) - 1)
redis.call('PEXPIRE', KEYS[3], ARGV[7])
return {now, until_ms, before}
