-- Discards the open window.
--
-- KEYS[1..25]  the consumer
-- returns      events discarded, false if there is no such consumer
local def, window = definition(), open_window()
if not def then
  return false
end
local count = window and window.n or 0
if count > 0 then
  redis.call('DEL', WINDOW)
  redis.call('ZREM', DUE, NAME)
  redis.call('HINCRBY', CONSUMER, 'discarded', count)
end
return count
