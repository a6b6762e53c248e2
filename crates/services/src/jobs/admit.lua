-- How many jobs have not ended, and the bytes of their records.
local function held_now()
  local length = redis.call('ZCARD', WAITING) + redis.call('ZCARD', DELAYED) + redis.call('ZCARD', ACTIVE)
    + redis.call('ZCARD', BLOCKED)
  local found = redis.call('HMGET', META, 'bytes', 'grouped', 'events_max')
  events_max = found[3]
  return found[2] and length + redis.call('ZCARD', KEYS[16]) or length, tonumber(found[1] or 0)
end

-- Enqueues the jobs of a list, such as ARGV, from a place in it on, all or none; see enqueue.lua. Returns its answer; changes nothing unless that is ok.
local function admit(jobs, at, length_max, bytes_max, is_flow)
  local ids = {}
  for index = at, #jobs, 3 do
    ids[#ids + 1] = jobs[index]
  end
  local replies, fresh, bytes, known = {}, {}, 0, {}
  for index, state in ipairs(read_many(STATES, ids)) do
    local id = ids[index]
    local place = known[id] or (state and place_of(state))
    if place and LIVE[place] then
      if is_flow then
        return {'taken', id}
      end
      replies[index] = place
    else
      if place then
        -- An ended job makes room for the new one of its name.
        leave(PLACES[place], id)
        forgotten[#forgotten + 1], records_gone[#records_gone + 1] = id, id
      end
      replies[index] = 'n'
      fresh[#fresh + 1] = index
      bytes = bytes + #jobs[at + 3 * index - 1]
      known[id] = 'w'
    end
  end
  if #fresh == 0 then
    return {'ok', table.concat(replies)}
  end

  local length, held = held_now()
  if length + #fresh > tonumber(length_max) or held + bytes > tonumber(bytes_max) then
    return {'full', length, held}
  end
  if #records_gone > 0 then
    save()
  end

  local last = redis.call('HINCRBY', META, 'seq', #fresh) - #fresh
  local seen, share, due, expires, timeout, tail, sized, size, group
  local records, flows, link = {}, {}, nil
  for count, index in ipairs(fresh) do
    local id, record = ids[index], jobs[at + 3 * index - 1]
    if seen ~= jobs[at + 3 * index - 2] then
      seen = jobs[at + 3 * index - 2]
      local priority, delay, at, patience, limit, policy = string.match(seen, '^(%-?%d+),(%d+),(%d+),(%d+),(%d+);(.*)$')
      share = (127 - tonumber(priority)) * 2 ^ 44 + last
      due = math.max(now + tonumber(delay), tonumber(at))
      expires = tonumber(patience) > 0 and now + tonumber(patience) or 0
      timeout = string.format('%013d%010d', expires, limit)
      tail, group = NOW .. policy, string.match(policy, ';(.*)$')
    end
    local order = string.format('%016d', share + count)
    if sized ~= #record then
      sized, size = #record, string.format('%09d', #record)
    end
    local place = due > now and 'd' or 'w'
    if is_flow then
      if index == 1 then
        place = 'p'
        flows = {'n' .. id, #ids - 1}
        link = order .. id
      else
        flows[#flows + 1] = 'c' .. id
        flows[#flows + 1] = link
      end
    end
    set_state(id, place .. order .. '000000000000000000000000' .. NOW .. timeout .. size .. tail)
    if place == 'd' then
      enter(DELAYED, due, id)
    elseif place == 'p' then
      enter(BLOCKED, NOW, id)
    elseif group then
      groups().wait(group, order, id)
    else
      enter(WAITING, order, id)
    end
    if group then
      groups().count(1)
    end
    if events_max then
      tell('added', id, place)
    end
    if expires > 0 then
      enter(EXPIRY, expires, id)
    end
    records[#records + 1] = id
    records[#records + 1] = record
  end
  freed = -bytes
  save()
  write_many('HSET', RECORDS, records)
  write_many('HSET', FLOWS, flows)
  arrived = arrived + #fresh
  return {'ok', table.concat(replies)}
end

-- Has a dead job wait again, as a new one with the record it has. It may wait as long as it likes: whoever has it tried again has looked at it.
local function revive(id, state)
  local order = math.floor(number(state, 2, 17) / 2 ^ 44) * 2 ^ 44 + redis.call('HINCRBY', META, 'seq', 1)
  leave(PLACES.k, id)
  if group_of(state) then
    groups().count(1)
  end
  state = 'w' .. string.format('%016d', order) .. string.sub(state, 18, 54) .. '0000000000000' .. string.sub(state, 68)
  wait(id, state, '00000000', NO_TOKEN, now)
  tell('requeued', id, 'w')
  freed = freed - number(state, 78, 86)
end
