-- Changes a schedule as somebody decided who has read it, unless it has changed since.
--
-- KEYS[1]  the schedule: hash, see state.rs        KEYS[2]  due: ids by when they are looked at next
-- KEYS[3]  names: every id, all scores 0           KEYS[4]  history: list of the schedule, latest first
-- ARGV[1]  id
-- ARGV[2]  the uid and the revision that were read, '' and '' for one that is not there, with a blank between
-- ARGV[3]  most schedules
-- ARGV[4]  when to look at it next, or '' for what follows from its state
-- ARGV[5]  how many entries of the history are kept
-- ARGV[6]  how many entries are added
-- ARGV[7...]  the entries, earliest first; then fields and their values, '' for none
-- returns  {'ok'} | {'stale'} | {'full'}
local id = ARGV[1]
local held = redis.call('HMGET', KEYS[1], 'uid', 'rev', 'def', 'claim', 'pin')
if (held[1] or '') .. ' ' .. (held[2] or '') ~= ARGV[2] then
  return {'stale'}
end
if not held[1] then
  if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[3]) then
    return {'full'}
  end
  redis.call('ZADD', KEYS[3], 0, id)
  redis.call('HSET', KEYS[1], 'created', text(now_ms()))
end

local first = 7 + tonumber(ARGV[6])
for index = first, #ARGV, 2 do
  local field, value = ARGV[index], ARGV[index + 1]
  if field == 'def' then
    redis.call('HSET', KEYS[1], 'changed', text(now_ms()))
    if held[4] and not held[5] then
      -- What has been claimed is carried through as it was.
      redis.call('HSET', KEYS[1], 'pin', held[3])
    end
  end
  if value == '' then
    redis.call('HDEL', KEYS[1], field)
  else
    redis.call('HSET', KEYS[1], field, value)
  end
end
redis.call('HINCRBY', KEYS[1], 'rev', 1)
for index = 7, first - 1 do
  remember(KEYS[4], ARGV[index], ARGV[5])
end
index_schedule(KEYS[1], KEYS[2], id, ARGV[4])
return {'ok'}
