-- Takes what has expired out of the index, a little at a time. Follows index.lua where it is needed.

-- Returns the four parts of a member of any of the three sets.
local function split(member)
  return string.match(member, '^([^:]*):([^:]*):([^:]*):(.*)$')
end

-- Removes the `most` sessions that expired longest ago. Their keys have gone by themselves.
local function prune(now, most)
  local expired = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', text(now), 'LIMIT', 0, most)
  for _, member in ipairs(expired) do
    delist(split(member))
  end
end
