-- Tells who holds permits and who waits.
--
-- KEYS[1..5]  state, queue, waiters, holders, notes
-- returns     {now in ms, fence, tokens and ends of leases of up to a hundred, how many hold something, who waits, what is noted of these holders}
local live = '(' .. string.format('%d', now)
local tokens = redis.call('ZRANGEBYSCORE', KEYS[4], live, '+inf', 'LIMIT', 0, 100)
local notes = {}
if #tokens > 0 then
  notes = redis.call('HMGET', KEYS[5], unpack(tokens))
end
local ends = redis.call('ZRANGEBYSCORE', KEYS[4], live, '+inf', 'WITHSCORES', 'LIMIT', 0, 100)
return {now, fence, ends, redis.call('ZCOUNT', KEYS[4], live, '+inf'), waiting(), notes}
