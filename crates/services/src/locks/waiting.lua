-- Tells who waits: {how many, what is noted of the first hundred}.
local function waiting()
  local first = redis.call('ZRANGE', KEYS[2], 0, 99)
  local notes = {}
  if #first > 0 then
    notes = redis.call('HMGET', KEYS[3], unpack(first))
  end
  return {redis.call('ZCARD', KEYS[2]), notes}
end
