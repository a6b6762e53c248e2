-- Reads the log of a job.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      id
-- returns      the log, see log.lua; '' if there is none, nil if there is no job
return redis.call('HEXISTS', STATES, ARGV[1]) == 1 and (redis.call('HGET', NOTES, 'l' .. ARGV[1]) or '')
