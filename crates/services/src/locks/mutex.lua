-- The state of a mutex, for all of its steps: one string, so that the usual ones read and write one key.
--
--   fence 16 ; lease ends 16 ; held since 16 ; heir 32 ; token 32 ; owner
--
-- Numbers are decimal, times in ms. The heir is who waits first. An end of 0 says released; the token stays, so that a release can be repeated. The state
-- outlives the lease: it keeps the fence.
--
-- KEYS[1]  state, also the channel that those who wait listen to
-- ARGV[1]  token
-- ARGV[2]  how long the fence is kept after the lease, in ms
local TOKEN, KEEP = ARGV[1], tonumber(ARGV[2])
local NOBODY = '--------------------------------'

local stored = redis.call('GET', KEYS[1])
local fence, ends, since, heir, token, owner = 0, 0, 0, NOBODY, NOBODY, ''
if stored then
  fence, ends = tonumber(string.sub(stored, 1, 16)), tonumber(string.sub(stored, 18, 33))
  since, heir = tonumber(string.sub(stored, 35, 50)), string.sub(stored, 52, 83)
  token, owner = string.sub(stored, 85, 116), string.sub(stored, 118)
end

local function save(lease)
  local numbers = string.format('%016d;%016d;%016d;', fence, ends, since)
  redis.call('SET', KEYS[1], numbers .. heir .. ';' .. token .. ';' .. owner, 'PX', lease + KEEP)
end
