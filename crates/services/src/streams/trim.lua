-- Drops what the stream's limits want dropped and nobody needs.
--
-- KEYS[1..4]  see stream.lua
-- ARGV[1]     see retain.lua
-- returns     how many; asking again may drop more
local _, _, dropped = trim(rules(ARGV[1]), 0, 0)
return dropped
