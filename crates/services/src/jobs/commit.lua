-- Completes a job, changes data and enqueues jobs, all or nothing.
--
-- KEYS[1..21]  see queue.lua
-- KEYS[22]     where the result goes
-- KEYS[23...]  data, one for each effect
-- ARGV[1]      see moves.lua
-- ARGV[2..3]   most jobs that are not ended, and most bytes of their records
-- ARGV[4..5]   id and token of the job that is done
-- ARGV[6..7]   its result and how long that is kept in ms, or ''
-- ARGV[8]      how many effects there are
-- ARGV[9...]   the effects, see effects.lua
-- ARGV[...]    for each job what enqueue.lua says
-- returns      {'ok', as there} | {'full', as there} | {'lost'} | {'misfit', number of the effect}: its key holds something else
local id, state, count = ARGV[4], redis.call('HGET', STATES, ARGV[4]), tonumber(ARGV[8])
if not state or not is_leased_as(state, ARGV[5]) then
  return {'lost'}
end
if PLACES[place_of(state)] ~= ACTIVE then
  -- The same, sent again by who did not hear the answer.
  return {place_of(state) == 'c' and 'ok' or 'lost', ''}
end
local odd = misfit(count, 9, KEYS_OF_ALL + 2)
if odd then
  return {'misfit', odd}
end

local reply = admit(ARGV, 9 + 3 * count, ARGV[2], ARGV[3], false)
if reply[1] ~= 'ok' then
  return reply
end
apply_effects(count, 9, KEYS_OF_ALL + 2)
if ARGV[7] ~= '' then
  redis.call('SET', KEYS[KEYS_OF_ALL + 1], token_of(state) .. NOW .. ARGV[6], 'PX', ARGV[7])
end
leave_place(id, state)
finish(id, state, 'c', counts_of(state), token_of(state))
save()
wake(math.max(arrived, work_for(1, true)))
return reply
