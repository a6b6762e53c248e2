-- Ends a step that may have fired: enqueues the triggers as jobs of the consumer's queue. What it runs with, functions of the queue among it, is not made
-- by steps that have fired none: they have returned.
--
-- ARGV[4]  what all of the jobs have in common, see jobs/enqueue.lua
-- returns  `reply`, a local of the step
local jobs = {}
for index = 1, #fired, 2 do
  jobs[#jobs + 1] = fired[index]
  jobs[#jobs + 1] = ARGV[4]
  -- Bytes, of a job with this name: see jobs/payload.rs.
  jobs[#jobs + 1] = 'b7:trigger' .. fired[index + 1]
end
-- Whether there is room has been looked at before anything was written.
admit(jobs, 1, math.huge, math.huge, false)
wake(arrived)
redis.call('HSET', CONSUMER, 'triggers', text(def.triggers), 'last_id', fired[#fired - 1], 'last', fired[#fired])
redis.call('HINCRBY', CONSUMER, 'fired', text(fired_events))
index_queue(def)
return reply
