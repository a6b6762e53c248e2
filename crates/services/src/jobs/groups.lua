-- Groups: which of them is next, how many of their jobs are active, and how fast they are leased.
--
-- A group is in the ring if one of its jobs waits, fewer are active than may be, and its rate allows another. Its score there is the share of the priority of its first job, and
-- behind that the number of its turn: a new one, the last, whenever it comes into the ring and with each lease. So leasing looks at the first of the
-- ring only, however many groups there are, or stand aside. Jobs without a group wait as ever, and have one turn together: `own_turn`.
--
-- How fast the jobs of a group are leased is bounded as for a queue (see work.lua): the tats of groups, in us, are kept as long as one is ahead. A group that only
-- its rate keeps out of the ring rests, by when its next may be leased; steps that lease take out those whose time has come, so each comes up once.
--
-- What a step does to groups is collected, like all else, and each group that it touched is reviewed once by `save`. While no job that has not ended
-- has a group, META has no `grouped`, and none of the keys here is touched; the tats then go by themselves.

-- What can be done with groups. Made when it is needed, from nothing but KEYS: to make functions, the more the more they share with others, costs a step of
-- a queue without groups more than commands do.
local made
local function groups()
  if made then
    return made
  end
  local META, WAITING, GROUPED, RING, HELD = KEYS[1], KEYS[4], KEYS[16], KEYS[17], KEYS[18]
  local RESTS, TATS = KEYS[20], KEYS[21]

  -- Between the name of a group and what follows in a member, and the first byte that is behind it. Neither is in a name.
  local MARK, BEHIND = '\1', '\2'

  -- Most groups that one step reviews because bounds have changed, and most that it puts aside beside those it leases from.
  local WALK = 100

  local all, share = {}, 2 ^ 44
  local turns, members, touched, is_touched, paces = nil, 0, {}, {}, {}
  made = all

  -- The turns as META has them, read once.
  local function turns_now()
    if not turns then
      local found = redis.call('HMGET', META, 'group_max', 'turn', 'own_turn', 'walk', 'group_pace', 'paces')
      local last = tonumber(found[2] or 0)
      turns = {max = found[1] and tonumber(found[1]), last = last, own = tonumber(found[3] or 0), walk = found[4], saved = last,
        pace = found[5], has_own = found[6], is_paced = found[5] or found[6]}
    end
    return turns
  end

  local function next_turn()
    local now = turns_now()
    now.last = now.last + 1
    return now.last
  end

  local function save_turns()
    if turns and turns.last ~= turns.saved then
      redis.call('HSET', META, 'turn', turns.last, 'own_turn', turns.own)
      turns.saved = turns.last
    end
  end

  -- Has `save` review a group.
  function all.touch(group)
    if not is_touched[group] then
      is_touched[group] = true
      touched[#touched + 1] = group
    end
  end

  -- Has a job wait.
  function all.wait(group, order, id)
    redis.call('ZADD', GROUPED, 0, group .. MARK .. order .. id)
    all.touch(group)
  end

  -- How fast the jobs of a group may be leased: us between two, how many at once, and its tat; false if that is not bounded.
  local function pace_of(group)
    local pace = paces[group]
    if pace == nil then
      local rules = turns_now()
      local rule = rules.has_own and redis.call('HGET', META, 'pace:' .. group) or rules.pace
      pace = false
      if rule then
        local interval, burst = string.match(rule, '^(%d+),(%d+)$')
        pace = {interval = tonumber(interval), burst = tonumber(burst), now = now_ms() * 1000}
        local tat = tonumber(redis.call('ZSCORE', TATS, group) or 0)
        pace.tat = math.max(math.min(tat, pace.now + pace.burst * pace.interval), pace.now)
        -- It was further ahead than what may be leased at once: the rate was another, or the clock went back.
        pace.is_new = tat > pace.tat
      end
      paces[group] = pace
    end
    return pace
  end

  -- How many more of a group's jobs may be leased now.
  local function allowed_of(group)
    local pace = pace_of(group)
    return pace and math.floor(pace.burst - (pace.tat - pace.now) / pace.interval) or math.huge
  end

  -- When the next of a group's jobs may be leased, in us.
  local function due_of(pace)
    return pace.tat - (pace.burst - 1) * pace.interval
  end

  -- After how many ms the next of a group's jobs may be leased; 0 if its rate does not hold it up.
  function all.rest_of(group)
    local pace = pace_of(group)
    return pace and math.max(0, math.ceil((due_of(pace) - pace.now) / 1000)) or 0
  end

  -- Has a job be active.
  function all.hold(group, id)
    redis.call('ZADD', HELD, 0, group .. MARK .. id)
    local pace = pace_of(group)
    if pace then
      pace.tat, pace.is_new = pace.tat + pace.interval, true
    end
  end

  -- Takes a job out of where its state says that it is.
  function all.leave(group, id, state)
    local place = string.sub(state, 1, 1)
    if place == 'w' then
      redis.call('ZREM', GROUPED, group .. MARK .. string.sub(state, 2, 17) .. id)
    elseif place == 'a' or place == 'r' then
      redis.call('ZREM', HELD, group .. MARK .. id)
    end
    all.touch(group)
  end

  -- How many of a group's jobs wait before this one.
  function all.ahead_of(group, id, state)
    return redis.call('ZLEXCOUNT', GROUPED, '[' .. group .. MARK, '(' .. group .. MARK .. string.sub(state, 2, 17) .. id)
  end

  -- There are so many more jobs of groups that have not ended.
  function all.count(change)
    members = members + change
  end

  -- The first of a group's jobs that wait, as members.
  function all.first_of(group, count)
    return redis.call('ZRANGEBYLEX', GROUPED, '[' .. group .. MARK, '(' .. group .. BEHIND, 'LIMIT', 0, count)
  end

  -- The first group behind a name that has a job in one of the places; nil if there is none.
  function all.next_after(key, name)
    local member = redis.call('ZRANGEBYLEX', key, '(' .. name .. BEHIND, '+', 'LIMIT', 0, 1)[1]
    return member and string.match(member, '^[^\1]*')
  end

  -- How many of a group are in one of its places.
  function all.count_of(key, group)
    return redis.call('ZLEXCOUNT', key, '[' .. group .. MARK, '(' .. group .. BEHIND)
  end

  -- How many of a group's jobs may be active; nil if that is not bounded.
  function all.max_of(group)
    local own = redis.call('HGET', META, 'max:' .. group)
    return own and tonumber(own) or turns_now().max
  end

  -- How many more of a group's jobs may be active.
  local function room_of(group)
    local max = all.max_of(group)
    return max and max - all.count_of(HELD, group) or math.huge
  end

  -- Puts a group in its place in the ring, for the sake of this job.
  local function stand(group, member, turn)
    local order = tonumber(string.sub(member, #group + 2, #group + 17))
    redis.call('ZADD', RING, order - order % share + turn, group)
  end

  -- Has a group be in the ring if it should be.
  local function review(group)
    local first = all.first_of(group, 1)[1]
    local has_room = first and room_of(group) > 0
    if has_room and allowed_of(group) > 0 then
      local score = redis.call('ZSCORE', RING, group)
      stand(group, first, score and tonumber(score) % share or next_turn())
    else
      redis.call('ZREM', RING, group)
      if has_room then
        redis.call('ZADD', RESTS, text(due_of(pace_of(group))), group)
        all.resting = all.resting + 1
      end
    end
  end

  -- Writes how far ahead of now groups are, and forgets some of those that are not.
  local function save_paces()
    local count = 0
    for group, pace in pairs(paces) do
      if pace and pace.is_new then
        redis.call('ZADD', TATS, text(pace.tat), group)
        pace.is_new, count = false, count + 1
      end
    end
    if count > 0 then
      local past = redis.call('ZCOUNT', TATS, '-inf', text(now_ms() * 1000))
      if past > 0 then
        redis.call('ZREMRANGEBYRANK', TATS, 0, math.min(past, count + WALK) - 1)
      end
      local last = redis.call('ZRANGE', TATS, -1, -1, 'WITHSCORES')[2]
      if last then
        redis.call('PEXPIREAT', TATS, text(math.ceil(tonumber(last) / 1000)))
      end
    end
  end

  -- Reviews groups after bounds have changed, some at each step, in the order of their names. Tells whether there are more.
  function all.walk()
    local at = turns_now().walk
    if not at then
      return false
    end
    for _ = 1, WALK do
      local group = all.next_after(GROUPED, at)
      if not group then
        turns.walk = false
        break
      end
      review(group)
      at = group
    end
    if turns.walk then
      redis.call('HSET', META, 'walk', at)
    else
      redis.call('HDEL', META, 'walk')
    end
    save_turns()
    save_paces()
    return turns.walk and true
  end

  -- Reviews groups whose rate allows another, some at each step. Tells whether there are more.
  function all.come_due()
    if not turns_now().is_paced then
      return false
    end
    local due = redis.call('ZRANGEBYSCORE', RESTS, '-inf', text(now_ms() * 1000), 'LIMIT', 0, WALK)
    if #due > 0 then
      redis.call('ZREM', RESTS, unpack(due))
    end
    for _, group in ipairs(due) do
      review(group)
    end
    save_turns()
    save_paces()
    return #due == WALK
  end

  -- In how many ms groups may come due, at least 1; nil if none will.
  function all.ms_to_due()
    local first = turns_now().is_paced and redis.call('ZRANGE', RESTS, 0, 0, 'WITHSCORES')[2]
    return first and math.max(1, math.ceil(tonumber(first) / 1000) - now_ms())
  end

  -- How many times a group was found to wait for its rate since this was last taken.
  all.resting = 0

  -- Whether the last job of a group has ended in this step.
  all.is_over = false

  -- Writes what has been collected; jobs are where they should be by now.
  function all.save()
    local some, change = touched, members
    touched, is_touched, members = {}, {}, 0
    for _, group in ipairs(some) do
      review(group)
    end
    save_turns()
    save_paces()
    if change ~= 0 and redis.call('HINCRBY', META, 'grouped', change) == 0 then
      redis.call('HDEL', META, 'grouped', 'turn', 'own_turn', 'walk')
      redis.call('DEL', RESTS)
      turns, all.is_over = nil, true
    end
  end

  -- Takes the next job of the group that is first in the ring, and gives that its next turn. Adds nothing if the group may have no more, because
  -- bounds were lowered. `rooms` are how many more may be active of the groups that were looked at.
  local function take_of(group, ids, rooms)
    local two, room = all.first_of(group, 2), rooms[group] or math.min(room_of(group), allowed_of(group))
    local following = two[1]
    if following and room > 0 then
      ids[#ids + 1] = string.sub(following, #group + 18)
      redis.call('ZREM', GROUPED, following)
      following, room = two[2], room - 1
    end
    rooms[group] = room
    if following and room > 0 then
      stand(group, following, next_turn())
    else
      redis.call('ZREM', RING, group)
      if following and pace_of(group) then
        -- It may be for its rate, which is known when its jobs are held.
        all.touch(group)
      end
    end
  end

  -- Takes so many jobs off those that wait, by turns, and returns their ids in the order in which they are leased.
  function all.take(count)
    local own, taken, ids, rooms = redis.call('ZRANGE', WAITING, 0, count - 1, 'WITHSCORES'), 0, {}, {}
    for _ = 1, count + WALK do
      local first, order = redis.call('ZRANGE', RING, 0, 0, 'WITHSCORES'), tonumber(own[2 * taken + 2])
      if #ids == count or not (first[1] or order) then
        break
      end
      if order and not (first[1] and tonumber(first[2]) < order - order % share + turns_now().own) then
        taken = taken + 1
        ids[#ids + 1] = own[2 * taken - 1]
        turns_now().own = next_turn()
      else
        take_of(first[1], ids, rooms)
      end
    end
    if taken > 0 then
      redis.call('ZREMRANGEBYRANK', WAITING, 0, taken - 1)
    end
    save_turns()
    return ids
  end

  return all
end
