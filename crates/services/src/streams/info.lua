-- Tells about a stream.
--
-- KEYS[1..2]  see stream.lua
-- returns     {entries, id of the first or '', id of the last, bytes, trimmed, refused, duplicates, published, names of groups}
local meta = redis.call('HMGET', KEYS[2], 'last', 'bytes', 'trimmed', 'refused', 'duplicates', 'sequence')
local first, groups = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1], {}
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    groups[#groups + 1] = group[2]
  end
end
return {redis.call('XLEN', KEYS[1]), first and first[1] or '', meta[1] or '', tonumber(meta[2] or 0), tonumber(meta[3] or 0), tonumber(meta[4] or 0),
  tonumber(meta[5] or 0), tonumber(meta[6] or 0), groups}
