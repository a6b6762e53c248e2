-- The state of a lock that several can hold: a semaphore, or a read/write lock, whose readers take one permit and whose writer takes all.
--
-- KEYS[1]  state, also the channel that those who wait listen to: fence 16 ; permits in use 16 ; heir 32
-- KEYS[4]  holders: tokens by the end of their lease in ms
-- KEYS[5]  by token: fence 16 ; held since 16 ; permits 16 ; owner
-- ARGV[1]  token
-- ARGV[2]  how long the fence is kept after the lease, in ms; no lease is longer, so nothing of the state ends before a lease does
local TOKEN, KEEP = ARGV[1], tonumber(ARGV[2])
local NOBODY = '--------------------------------'

local stored = redis.call('GET', KEYS[1])
local fence, used, heir = 0, 0, NOBODY
if stored then
  fence, used, heir = tonumber(string.sub(stored, 1, 16)), tonumber(string.sub(stored, 18, 33)), string.sub(stored, 35, 66)
end

local function save(lease)
  redis.call('SET', KEYS[1], string.format('%016d;%016d;', fence, used) .. heir, 'PX', lease + KEEP)
end

local function keep_holders(lease)
  redis.call('PEXPIRE', KEYS[4], lease + KEEP)
  redis.call('PEXPIRE', KEYS[5], lease + KEEP)
end

-- When the first lease ends.
local function end_of_first()
  return tonumber(redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2] or 0)
end

local function remove_holder(holder)
  local note = redis.call('HGET', KEYS[5], holder)
  used = math.max(0, used - (note and tonumber(string.sub(note, 35, 50)) or 0))
  redis.call('ZREM', KEYS[4], holder)
  redis.call('HDEL', KEYS[5], holder)
end

local function remove_one_ended()
  local first = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
  if not first[1] then
    -- Nobody holds anything, whatever became of the notes.
    used = 0
  end
  if not first[1] or tonumber(first[2]) > now then
    return false
  end
  remove_holder(first[1])
  return true
end

-- Removes those whose lease has ended, a few at a time: while there are more, their permits are in use.
local function remove_ended()
  return remove_one_ended() and remove_one_ended() and remove_one_ended() and remove_one_ended()
end
