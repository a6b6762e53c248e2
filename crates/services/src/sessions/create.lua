-- Creates a session; ends the user's oldest ones if there would be too many.
--
-- KEYS[1..6]  index and session
-- KEYS[7..]   session and messages of sessions that may be ended, a pair each
-- ARGV[1]     proof
-- ARGV[2]     ref
-- ARGV[3]     user, escaped; '' for none
-- ARGV[4]     workspace, escaped; '' for none
-- ARGV[5]     idle ms
-- ARGV[6]     ms to the absolute end; 0 for none
-- ARGV[7]     most sessions of a user, this one included
-- ARGV[8]     bytes of the fields
-- ARGV[9]     how many of the following are names and values of the hash
-- ARGV[10]    how many of the following are sessions that may be ended
-- ARGV[11..]  names and values; then 'user:stamp:ref:workspace' in the order of KEYS[7..]; then messages
-- returns     {1, stamp, end, how many were ended}; {0} the ref is taken; {2, …} those that must be ended and are not
--             among KEYS, and some more in case others are faster: nothing was changed
local REF, USER, WORKSPACE = ARGV[2], ARGV[3], ARGV[4]
local FIRST = 11
local PAIRS, ENDABLE = tonumber(ARGV[9]), tonumber(ARGV[10])

-- How many expired sessions of anybody a step removes from the index.
local PRUNE_STEP = 8
-- The most sessions a user can have: MAX_SESSIONS_PER_USER of the settings, and the one that a login is about to end.
local USER_MAX = 1001
-- How many sessions more than necessary are named to be ended.
local SPARE = 16

-- Returns a user's sessions, oldest first. Forgets those that have expired.
local function live(user, now)
  local found = {}
  local range = redis.call('ZRANGEBYLEX', USERS, '[' .. user .. ':', '(' .. user .. ';', 'LIMIT', 0, USER_MAX)
  for _, member in ipairs(range) do
    local _, stamp, ref, workspace = split(member)
    local expires = redis.call('ZSCORE', EXPIRY, ref .. ':' .. stamp .. ':' .. user .. ':' .. workspace)
    if expires and tonumber(expires) <= now then
      delist(ref, stamp, user, workspace)
    else
      found[#found + 1] = member
    end
  end
  return found
end

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)

local held = redis.call('HMGET', SESSION, 'h', 'c', 'e')
if held[1] then
  -- The same proof: the call is repeated, and its first run was successful.
  return held[1] == ARGV[1] and {1, tonumber(held[2]), tonumber(held[3]), 0} or {0}
end

prune(now, PRUNE_STEP)
local stamp, ended = now_us, 0
if USER ~= '' then
  local sessions = live(USER, now)
  local excess = #sessions + 1 - tonumber(ARGV[7])
  local place = {}
  for index = 1, ENDABLE do
    place[ARGV[FIRST + PAIRS + index - 1]] = index
  end
  for index = 1, excess do
    if not place[sessions[index]] then
      local wanted = {2}
      for each = 1, math.min(#sessions, excess + SPARE) do
        wanted[each + 1] = sessions[each]
      end
      return wanted
    end
  end
  for index = 1, excess do
    local _, of, ref, workspace = split(sessions[index])
    local key = 5 + 2 * place[sessions[index]]
    delist(ref, of, USER, workspace)
    ended = ended + redis.call('DEL', KEYS[key])
    redis.call('DEL', KEYS[key + 1])
  end
  -- A user's sessions are in order even if the clock is not.
  local _, last = split(sessions[#sessions] or ':0::')
  stamp = math.max(now_us, tonumber(last) + 1)
end

local absolute = tonumber(ARGV[6])
local expires = now + tonumber(ARGV[5])
if absolute > 0 then
  absolute = now + absolute
  expires = math.min(expires, absolute)
end
stamp = string.format('%016d', stamp)
redis.call('HSET', SESSION, 'h', ARGV[1], 'c', stamp, 'i', ARGV[5], 'a', absolute, 'e', expires, 't', now, 'v', 1,
  'z', ARGV[8])
if USER ~= '' then
  redis.call('HSET', SESSION, 'u', USER)
end
if WORKSPACE ~= '' then
  redis.call('HSET', SESSION, 'w', WORKSPACE)
end
if PAIRS > 0 then
  redis.call('HSET', SESSION, unpack(ARGV, FIRST, FIRST + PAIRS - 1))
end
if #ARGV >= FIRST + PAIRS + ENDABLE then
  redis.call('RPUSH', MESSAGES, unpack(ARGV, FIRST + PAIRS + ENDABLE))
  redis.call('PEXPIREAT', MESSAGES, expires)
end
redis.call('PEXPIREAT', SESSION, expires)
enlist(REF, stamp, USER, WORKSPACE, expires)
return {1, tonumber(stamp), expires, ended}
