-- What a request came to, kept for a while under its id, so that asking again gives the same answer.
--
-- A request says what it asks for in a fingerprint, '' if it has no id. What is kept is the fingerprint, a line end and
-- the answer; fingerprints hold no line ends.

-- Returns {'again', answer} if the request is known, {'other', ''} if its id stands for something else, else nil.
local function recall(key, fingerprint)
  if fingerprint == '' then
    return nil
  end
  local kept = redis.call('GET', key)
  if not kept then
    return nil
  end
  if string.sub(kept, 1, #fingerprint + 1) == fingerprint .. '\n' then
    return {'again', string.sub(kept, #fingerprint + 2)}
  end
  return {'other', ''}
end

local function keep(key, fingerprint, window, answer)
  if fingerprint ~= '' then
    redis.call('SET', key, fingerprint .. '\n' .. answer, 'PX', window)
  end
end
