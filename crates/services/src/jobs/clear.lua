-- Removes jobs of one place that nobody works on, without a trace: named ones, or the first ones.
--
-- KEYS[1..15]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2]      place: w d p c x o k
-- ARGV[3]      most jobs to remove, if none are named
-- ARGV[4...]   ids
-- returns      {how many were removed, how many are left}
local place, ids = ARGV[2], {}
local key = PLACES[place]
if #ARGV > 3 then
  for index = 4, #ARGV do
    if redis.call('ZSCORE', key, ARGV[index]) then
      redis.call('ZREM', key, ARGV[index])
      ids[#ids + 1] = ARGV[index]
    end
  end
else
  ids = redis.call('ZRANGE', key, 0, ARGV[3] - 1)
  redis.call('ZREMRANGEBYRANK', key, 0, ARGV[3] - 1)
end
for index, state in ipairs(read_many(STATES, ids)) do
  if LIVE[place] then
    freed = freed + number(state, 78, 86)
    if number(state, 55, 67) > 0 then
      leave(EXPIRY, ids[index])
    end
    tell_parent(ids[index], place)
  end
  forgotten[index], records_gone[index] = ids[index], ids[index]
end
save()
return {#ids, redis.call('ZCARD', key)}
