-- Stamps: which fills an invalidation refuses.

-- How long stamps are kept: no loader may run longer (MAX_LOAD in settings.rs).
local STAMP_KEPT_MS = 600000

-- Returns a stamp above all stamps given so far, whatever the clock does.
local function next_stamp(now)
  local last = redis.call('ZRANGE', STAMPS, -1, -1, 'WITHSCORES')[2]
  return math.max(now, last and tonumber(last) + 1 or 0)
end

-- Notes an invalidation: fills that began before it and carry the tag will be refused.
local function stamp(tag, now)
  redis.call('ZADD', STAMPS, text(next_stamp(now)), tag)
  local outdated = redis.call('ZCOUNT', STAMPS, '-inf', text(now - STAMP_KEPT_MS))
  if outdated > 0 then
    redis.call('ZREMRANGEBYRANK', STAMPS, 0, math.min(outdated, tonumber(PRUNE_STEP)) - 1)
  end
  redis.call('PEXPIRE', STAMPS, STAMP_KEPT_MS)
end
