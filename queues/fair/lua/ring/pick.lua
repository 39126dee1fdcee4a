-- The ring, see base.lua: how the next job is picked. Few functions: building them is a part of every call's cost.

-- How many picks this script still makes, this one included. A series of them reads the ring once, and writes it once.
local ahead = 1
-- Members and tags of those that are next, lowest first, from `at` on. `horizon` and `last`: the tag and the member of the
-- last one that was read, when others may stand behind it.
local front, at, horizon, last = {}, 1, nil, nil
-- What is still to be written: member -> its tag in the ring, and how many plain jobs were taken.
local moves, plain = {}, 0

-- Writes what a series of picks has moved.
local function commit(base)
  if next(moves) then
    local scored = {}
    for member, tag in pairs(moves) do
      scored[#scored + 1], scored[#scored + 2] = tag, member
    end
    native('ZADD', base .. 'fair:ring', unpack(scored))
    moves = {}
  end
  if plain > 0 then
    remind = native('HINCRBY', base .. 'fair:n', 'o', plain) % 16 < plain or remind
    plain = 0
  end
  if slotted[1] then
    native('HSET', string.match(base, OF_QUEUE) .. ':fair:slots', unpack(slotted))
    slotted = {}
  end
end

-- The lowest member and its tag, which are taken off `front`.
local function lowestOf(base)
  if not front[at] then
    commit(base)
    front, at = native('ZRANGE', base .. 'fair:ring', '0', ahead - 1, 'WITHSCORES'), 1
    horizon, last = #front >= 2 * ahead and tonumber(front[#front]), front[#front - 1]
  end
  at = at + 2
  return front[at - 2], tonumber(front[at - 1])
end

-- The same while limits of `*` are new to some: those of the lowest that are not where their limits want them are brought
-- there first, some in a call.
local function lowestSettled(base)
  local brought
  for _ = 1, 8 do
    local member, tag = lowestOf(base)
    local weight, group = string.match(member or '', '^%d+:([^:]+):[01]:[^:]+:(.*)$')
    local use = group and group ~= brought and limits().useOf(base, group)
    if not use or not use.limited and tonumber(use.weight) == tonumber(weight) then
      return member, tag
    end
    commit(base)
    front = {}
    parking().settle(base, group)
    brought = group
  end
  native('ZADD', base .. 'marker', '0', '0')
end

-- A member goes to where its next job stands.
local function move(member, tag)
  moves[member] = tag
  if horizon and (tag > horizon or tag == horizon and member > last) then
    return
  end
  local i = at
  while front[i] and (tonumber(front[i + 1]) < tag or tonumber(front[i + 1]) == tag and front[i] < member) do
    i = i + 2
  end
  table.insert(front, i, tag)
  table.insert(front, i, member)
end

-- The next job of the lowest group, see pick.
local function pickOne(base, read, gated)
  for _ = 1, gated and 32 or 8 do
    local member, tag = (unsettled and lowestSettled or lowestOf)(base)
    if gated and gated.aside then
      local jobId, more, slot = gates().pickAside(gated, tag, read)
      if jobId then
        return jobId, more, slot
      end
    end
    if not member then
      return nil
    end
    local activation, weight, flags, start, group = string.match(member, OF_MEMBER)
    local use, due
    if flags > '1' then
      use, due = limits().look(base, group, front, at)
    end
    local q = base .. QUEUE .. group
    local head = not due and native('ZPOPMIN', q)
    local options, doomed
    if gated and head and head[1] then
      head, options, doomed = gates().admit(gated, member, tag, head, read)
    elseif head and head[1] then
      options, doomed = read(base .. head[1])
    end
    if head and head[1] then
      local spec = options and string.find(options, '"cost":', 1, true) and cjson.decode(options)['group']
      local cost = type(spec) == 'table' and tonumber(spec['cost']) or 1
      local charge, owed = math.floor(cost * UNIT / weight), 0
      if flags == '1' or flags == '3' then
        local moved = tag - start
        owed = math.min(discountOf(activation, weight), moved > 0 and moved or math.floor(charge / 2))
        if moved == 0 then
          charge = charge - owed
        end
      end
      local nextTag = tag + charge
      if isPlain(tonumber(head[2])) then
        plain = plain + 1
      else
        countTaken(base, head[2])
      end
      if gated and gated.aside then
        native('HSET', base .. 'fair:n', 'v', tag)
      end
      local more = native('EXISTS', q) == 1
      local slot
      if use then
        due, slot = limits().occupy(use, head[1], more, doomed)
      end
      if more and not due then
        move(member, nextTag)
        return head[1], true, slot
      end
      local isFollowed = gated and gated.aside
      -- Virtual time is where those are that are set aside, and not yet where this group is done.
      moves[member] = nil
      if not front[at] then
        commit(base)
      end
      local othersLeft = leaveRing(base, group, member, isFollowed and tag or nextTag + owed, more and due, front[at + 1])
      if more then
        parking().announcePark(base)
      end
      if isFollowed then
        gates().remember(base, group, weight, nextTag + owed)
      end
      return head[1], othersLeft or isFollowed, slot
    end
    -- It is nil when the job was set aside.
    if head ~= nil then
      commit(base)
      front = {}
      leaveRing(base, group, member, tag, due)
      if use then
        parking().settle(base, group)
      end
    end
  end
  -- Others may stand behind those: whoever comes next goes on, and somebody has to come.
  native('ZADD', base .. 'marker', '0', '0')
end

-- The next job under fair shares and whether more may run; nil when nothing may run. Returns also what the job's hash is to
-- have in the field slot, if anything. `read(key of a job)` gives its options and, if it only passes through to be failed,
-- why (`defa`).
-- 5 calls for a group without limits that stays in the ring, whatever the number of groups, and 2 in a series. A group whose
-- queue is lost (a deleted key), or whose limits were changed behind the ring's back, leaves it; a few such are passed over
-- per call, and a mark asks for another call when that was not enough. `gated`: what gates().open gave, where it is needed;
-- then `read` gives also the job's name, and there is no series.
local function pick(base, read, gated)
  if gated then
    ahead, front = 1, {}
  end
  local jobId, more, slot = pickOne(base, read, gated)
  ahead = ahead - 1
  -- One that finds nobody has done so already.
  if ahead < 1 then
    commit(base)
  end
  return jobId, more, slot
end
