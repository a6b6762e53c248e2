-- The index over the sessions of a partition. First part of the steps that change it.
--
-- Each session that has a user or a workspace is in three sorted sets, as the same four parts in another order. The
-- stamp is the microsecond it was created in, 16 digits; user and workspace are escaped, so they have no colon.
--
-- KEYS[1]  expiry      'ref:stamp:user:workspace', scored by the millisecond it expires at
-- KEYS[2]  users       'user:stamp:ref:workspace', all scores 0, so that a user's sessions are a range, oldest first
-- KEYS[3]  workspaces  'workspace:stamp:ref:user', the same for workspaces
local EXPIRY, USERS, WORKSPACES = KEYS[1], KEYS[2], KEYS[3]

-- Puts a session into the index, or moves its end. What was lost from the index comes back this way. Each of the sets
-- lives as long as the longest session that was ever in it: one that has no deadline yet gets this one, and none is
-- ever shortened.
local function enlist(ref, stamp, user, workspace, expires)
  if user == '' and workspace == '' then
    return
  end
  redis.call('ZADD', EXPIRY, expires, ref .. ':' .. stamp .. ':' .. user .. ':' .. workspace)
  redis.call('PEXPIREAT', EXPIRY, expires, 'NX')
  redis.call('PEXPIREAT', EXPIRY, expires, 'GT')
  if user ~= '' then
    redis.call('ZADD', USERS, 0, user .. ':' .. stamp .. ':' .. ref .. ':' .. workspace)
    redis.call('PEXPIREAT', USERS, expires, 'NX')
    redis.call('PEXPIREAT', USERS, expires, 'GT')
  end
  if workspace ~= '' then
    redis.call('ZADD', WORKSPACES, 0, workspace .. ':' .. stamp .. ':' .. ref .. ':' .. user)
    redis.call('PEXPIREAT', WORKSPACES, expires, 'NX')
    redis.call('PEXPIREAT', WORKSPACES, expires, 'GT')
  end
end

-- Takes a session out of the index.
local function delist(ref, stamp, user, workspace)
  redis.call('ZREM', EXPIRY, ref .. ':' .. stamp .. ':' .. user .. ':' .. workspace)
  redis.call('ZREM', USERS, user .. ':' .. stamp .. ':' .. ref .. ':' .. workspace)
  redis.call('ZREM', WORKSPACES, workspace .. ':' .. stamp .. ':' .. ref .. ':' .. user)
end
