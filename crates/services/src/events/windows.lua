-- Counts the timeline by windows, the latest first.
--
-- KEYS[1..25]  the consumer
-- KEYS[26]     timeline
-- ARGV[3]      'sliding' or 'tumbling'
-- ARGV[4]      width in ms
-- ARGV[5]      how many windows
-- returns      {} if there is no such consumer | {now, earliest time still complete, count, ...}
local def = definition()
if not def then
  return {}
end
local now, width = now_ms(), tonumber(ARGV[4])
local trimmed = tonumber(redis.call('HGET', CONSUMER, 'trimmed_ms') or -1)
local reply = {text(now), text(math.max(now - def.retention, trimmed) + 1)}
for back = 0, tonumber(ARGV[5]) - 1 do
  local from, to
  if ARGV[3] == 'sliding' then
    to = now - back * width
    from, to = '(' .. text(to - width), text(to)
  else
    from = now - now % width - back * width
    from, to = text(from), '(' .. text(from + width)
  end
  reply[#reply + 1] = redis.call('ZCOUNT', KEYS[26], from, to)
end
return reply
