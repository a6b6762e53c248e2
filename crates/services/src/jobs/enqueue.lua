-- Enqueues jobs, all or none. An id that is alive stays as it is. In a flow the first job is blocked until all the others have completed, and no id
-- may be alive.
--
-- KEYS[1..21]  see queue.lua
-- ARGV[1]      see moves.lua
-- ARGV[2..3]   most jobs that are not ended, and most bytes of their records
-- ARGV[4]      'flow' or ''
-- ARGV[5...]   for each job: id | priority from -128 to 127, delay, when it is due at the earliest or 0, how long it may wait or 0,
--              timeout of a run or 0; policy, see the last part of a state | record
-- returns      {'ok', for each job n or the place of the one that is there} | {'full', how many there are, their bytes} | {'taken', id}
local reply = admit(ARGV, 5, ARGV[2], ARGV[3], ARGV[4] == 'flow')
wake(arrived)
return reply
