-- Appends lines to the log of a job that is worked on. The oldest are dropped if there are too many, or too long together.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1..2]   most lines, and most bytes of all together
-- ARGV[3..4]   id and token
-- ARGV[5...]   lines
-- returns      how many lines there ever were, or -1 if the lease was lost
--
-- A log is how many lines were dropped 10 │ how many there are 10 │ for each: when 13 │ length 5 │ text
local lines_max, bytes_max, id = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local state = redis.call('HGET', STATES, id)
if not state or PLACES[place_of(state)] ~= ACTIVE or not is_leased_as(state, ARGV[4]) then
  return -1
end
local log = redis.call('HGET', NOTES, 'l' .. id) or string.rep('0', 20)
local dropped, count = number(log, 1, 10), number(log, 11, 20)
local parts, at = {string.sub(log, 21)}, string.format('%013d', now_ms())
for index = 5, #ARGV do
  parts[#parts + 1] = at .. string.format('%05d', #ARGV[index]) .. ARGV[index]
  count = count + 1
end
local lines, first = table.concat(parts), 1
while count > 0 and (count > lines_max or #lines - first + 1 > bytes_max) do
  first = first + 18 + number(lines, first + 13, first + 17)
  dropped, count = dropped + 1, count - 1
end
redis.call('HSET', NOTES, 'l' .. id, string.format('%010d%010d', dropped, count) .. string.sub(lines, first))
return dropped + count
