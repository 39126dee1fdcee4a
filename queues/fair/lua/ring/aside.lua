--[[
  The ring, see base.lua and gates.lua: jobs that are set aside, because their task's gate was closed when it was their turn.

  They wait in a queue of their own for each task and group. For everybody who looks at waiting jobs that queue is one of
  a further group: <name> is "\0a<length of task>:<task><group>", in `idx` and `park`, where nobody serves it. What a set
  aside job costs is its group's, when it starts. It keeps its place, its key and its limits, and takes nothing meanwhile.

  When a gate is open, each pick serves the first of the groups that are listed for its task whose turn it is: whose tag, which
  it has, or would have, in the ring, is not above the ring's lowest. The list is a start-time fair queue of its own: each
  job that a group had from it moves the group on by cost / weight. While a gate is closed virtual time goes past all of its
  groups, and makes them equal in the ring; by the list they share the gate by their weights all the same.

  A listed group whose own limits forbid its next job is not listed any more; its queue is in `park` until a time, or
  HELD until an event, of which the field a:<queue> in state:<group> tells limits.lua.

  Within a task and a group the order is that of a queue without gates: whoever comes to its turn while an earlier one is
  set aside changes places with it.

  Keys, under <base>fair:
    q::<name>   ZSET  job id -> place
    aj          HASH  job id -> name
    at          HASH  task -> its jobs that are set aside
    ag          HASH  group -> its jobs that are set aside
    as::<task>  ZSET  group with such jobs, which its limits do not forbid as far as is known -> its tag in this list
    af::<task>  ZSET  group that left the list -> the tag it had then, while others have such jobs
  In `meta`: fair:aside, while there are any.
]]

local function asideOf(task, group)
  return '\0a' .. #task .. ':' .. task .. group
end

local function partsOf(name)
  local length, rest = string.match(name, '^%za(%d+):(.*)$')
  return string.sub(rest, 1, tonumber(length)), string.sub(rest, tonumber(length) + 1)
end

local function nothingWaits(base)
  return native('EXISTS', base .. 'fair:idx', base .. 'fair:bk') == 0
end

-- Ends the busy period, as leaveRing does, when that was the last one; returns whether it was.
local function endIfLast(base)
  local last = nothingWaits(base)
  if last then
    native('UNLINK', base .. 'fair:fin', base .. 'fair:n', base .. 'fair:park', base .. 'pc')
  end
  return last
end

-- The tag that a group has, or would have if it came now; `floor` is virtual time.
local function tagOf(base, group, floor)
  local member = native('HGET', base .. 'fair:idx', group)
  if member and member ~= '' then
    return tonumber(native('ZSCORE', base .. 'fair:ring', member))
  end
  return math.max(floor, finishOf(base, group, limits().useOf(base, group).weight, floor))
end

-- Lists a group for a task: where it left off, or at the present, as in the ring.
local function list(base, task, group)
  local listKey, left = base .. 'fair:as::' .. task, base .. 'fair:af::' .. task
  local lowest = tonumber(native('ZRANGE', listKey, '0', '0', 'WITHSCORES')[2] or nil) or 0
  native('ZADD', listKey, 'NX', math.max(lowest, tonumber(native('ZSCORE', left, group) or 0)), group)
  native('ZREM', left, group)
end

-- Takes a group off the list of a task.
local function unlist(base, task, group)
  local listKey = base .. 'fair:as::' .. task
  local tag = native('ZSCORE', listKey, group)
  if tag then
    native('ZREM', listKey, group)
    native('ZADD', base .. 'fair:af::' .. task, tag, group)
  end
end

-- Sets a job aside that was taken from its group's queue, which had this tag.
local function setAside(gated, task, group, head, tag)
  local base, name = gated.base, asideOf(task, group)
  native('ZADD', base .. QUEUE .. name, head[2], head[1])
  native('HSET', base .. 'fair:aj', head[1], name)
  native('HINCRBY', base .. 'fair:ag', group, '1')
  if native('HINCRBY', base .. 'fair:at', task, '1') == 1 then
    native('SADD', gated.prefix .. ':fair:aside:' .. task, gated.queue)
    native('HSET', base .. 'meta', 'fair:aside', '1')
    native('HSET', base .. 'fair:n', 'v', inWords(tag))
    gated.aside = true
  end
  if native('HSETNX', base .. 'fair:idx', name, '') == 1 then
    native('ZADD', base .. 'fair:park', HELD, name)
    list(base, task, group)
  end
end

-- Books that a job, which was counted and taken out of the queue `name`, is set aside no more.
local function forget(base, name, jobId)
  local task, group = partsOf(name)
  native('HDEL', base .. 'fair:aj', jobId)
  if native('EXISTS', base .. QUEUE .. name) == 0 then
    native('HDEL', base .. 'fair:idx', name)
    native('ZREM', base .. 'fair:park', name)
    unlist(base, task, group)
  end
  if native('HINCRBY', base .. 'fair:ag', group, '-1') <= 0 then
    native('HDEL', base .. 'fair:ag', group)
  end
  if native('HINCRBY', base .. 'fair:at', task, '-1') <= 0 then
    local prefix, queue = string.match(base, OF_QUEUE)
    native('HDEL', base .. 'fair:at', task)
    native('UNLINK', base .. 'fair:af::' .. task)
    native('SREM', prefix .. ':fair:aside:' .. task, queue)
    if native('EXISTS', base .. 'fair:at') == 0 then
      native('HDEL', base .. 'meta', 'fair:aside')
    end
  end
end

-- Takes one given job away; false when it is not set aside.
local function takeAside(base, jobId)
  local name = native('HGET', base .. 'fair:aj', jobId)
  if not name then
    return false
  end
  countTaken(base, native('ZSCORE', base .. QUEUE .. name, jobId) or 0)
  native('ZREM', base .. QUEUE .. name, jobId)
  forget(base, name, jobId)
  if not arriving then
    endIfLast(base)
  end
  return true
end

-- What a job costs its group, by its stored options: as in pick.lua.
local function costOf(options)
  local spec = options and string.find(options, '"cost":', 1, true) and cjson.decode(options)['group']
  return type(spec) == 'table' and tonumber(spec['cost']) or 1
end

-- The earliest job of a task and group that is set aside, when it is before one that was taken from the group's queue, changes
-- places with that.
local function earliest(gated, task, group, head)
  local base, name = gated.base, asideOf(task, group)
  local first = native('ZRANGE', base .. QUEUE .. name, '0', '0', 'WITHSCORES')
  if not first[1] or tonumber(first[2]) > tonumber(head[2]) then
    return head
  end
  native('ZREM', base .. QUEUE .. name, first[1])
  native('ZADD', base .. QUEUE .. name, head[2], head[1])
  native('HDEL', base .. 'fair:aj', first[1])
  native('HSET', base .. 'fair:aj', head[1], name)
  return first
end

-- It is the turn of a job, which ZPOPMIN gave as `head`, and its group is in the ring as `member` at `tag`. When its task
-- forbids it, it is set aside, and the group leaves the ring if it was its last. Returns what is to start, as `head`, and
-- what `read` says of it.
local function admit(gated, member, tag, head, read)
  local base, options, doomed, task = gated.base, read(gated.base .. head[1])
  local group = select(5, string.match(member, OF_MEMBER))
  if task and dueOfTask(gated, task) then
    setAside(gated, task, group, head, tag)
    if native('EXISTS', base .. QUEUE .. group) == 0 then
      parking().emptied(base, group, member, tag)
    end
    return nil
  end
  if task and gated.aside then
    local first = earliest(gated, task, group, head)
    if first ~= head then
      head, options, doomed = first, read(base .. first[1])
    end
  end
  gated.task, gated.free = task, doomed
  return head, options, doomed
end

-- The first listed group of a task whose turn it is: its tag is not above the ring's lowest. Returns it and its tag.
local function nextOf(base, task, floor, ringTag)
  for _, group in ipairs(native('ZRANGE', base .. 'fair:as::' .. task, '0', '7')) do
    local tag = tagOf(base, group, floor)
    if not ringTag or tag <= ringTag then
      return group, tag
    end
  end
end

-- Among all tasks whose gates are open.
local function lowestAside(gated, floor, ringTag)
  local best
  for _, task in ipairs(native('HKEYS', gated.base .. 'fair:at')) do
    if not dueOfTask(gated, task) then
      local group, tag = nextOf(gated.base, task, floor, ringTag)
      if group and not (best and best.tag <= tag) then
        best = { task = task, group = group, tag = tag }
      end
    end
  end
  return best
end

-- The limits of a group forbid its next job: its jobs of a task are out of the way until they do not.
local function hold(gated, task, use, due)
  local base = gated.base
  unlist(base, task, use.group)
  native('ZADD', base .. 'fair:park', due, asideOf(task, use.group))
  native('HSET', use.key, 'a:' .. gated.queue, '1')
  if due >= HELD then
    native('HSET', use.key, 'held', '1')
  end
  native('PERSIST', use.key)
  parking().announcePark(base)
end

-- The limits of a group may have changed: all its jobs that are set aside in a queue are listed again.
local function relist(base, group)
  local prefix, queue = string.match(base, OF_QUEUE)
  for _, task in ipairs(native('HKEYS', base .. 'fair:at')) do
    local name = asideOf(task, group)
    if native('HEXISTS', base .. 'fair:idx', name) == 1 then
      list(base, task, group)
      native('ZADD', base .. 'fair:park', HELD, name)
    end
  end
  native('HDEL', prefix .. ':fair:state:' .. group, 'a:' .. queue)
  parking().announcePark(base)
  wake(base)
end

-- The time in `park` of a member that is no group has come, or it is looked at.
local function settle(base, name)
  if name == TIMER then
    native('ZREM', base .. 'fair:park', TIMER)
    parking().announcePark(base)
    wake(base)
    return
  end
  local task, group = partsOf(name)
  if native('EXISTS', base .. QUEUE .. name) == 1 then
    relist(base, group)
  else
    -- Its queue was lost (a deleted key).
    native('ZREM', base .. 'fair:park', name)
    native('HDEL', base .. 'fair:idx', name)
    unlist(base, task, group)
  end
end

-- A group that is not in the ring has been served: where it is when it comes back. The ring remembers that only of groups
-- beyond its lowest tag, and those with jobs that are set aside may be behind that.
local function remember(base, group, weight, finish)
  if not nothingWaits(base) then
    native('ZADD', base .. 'fair:fin', finish, 'f' .. group, -weight, 'w' .. group)
  end
end

-- A group pays for a job of its that was set aside, and that it had at this tag.
local function pay(use, tag, units)
  local member = native('HGET', use.base .. 'fair:idx', use.group)
  if member and member ~= '' then
    parking().charge(use, units)
  else
    remember(use.base, use.group, use.weight, tag + math.floor(units * UNIT / use.weight))
  end
end

-- Starts the first job that a group has set aside of a task. Returns what `pick` returns; nil when its queue was lost.
local function serve(gated, best, use, read)
  local base, group, name = gated.base, best.group, asideOf(best.task, best.group)
  local head = native('ZPOPMIN', base .. QUEUE .. name)
  if not head[1] then
    settle(base, name)
    return nil
  end
  local options, doomed = read(base .. head[1])
  gated.task, gated.free = best.task, doomed
  native('HSET', base .. 'fair:n', 'v', inWords(best.tag))
  native('ZINCRBY', base .. 'fair:as::' .. best.task, math.floor(costOf(options) * UNIT / use.weight), group)
  countTaken(base, head[2])
  forget(base, name, head[1])
  pay(use, best.tag, costOf(options))
  local due, slot
  if use.limited then
    due, slot = limits().occupy(use, head[1], native('EXISTS', base .. QUEUE .. group) == 1, doomed)
    if due then
      parking().settle(base, group)
    end
  end
  return head[1], not endIfLast(base), slot
end

-- Whether a group has a job in its queue that is before the first of those of a task that are set aside: one that came
-- back, or is more urgent.
local function isBehind(base, task, group)
  local queued = native('ZRANGE', base .. QUEUE .. group, '0', '0', 'WITHSCORES')
  local aside = queued[1] and native('ZRANGE', base .. QUEUE .. asideOf(task, group), '0', '0', 'WITHSCORES')
  return aside and aside[1] and tonumber(queued[2]) < tonumber(aside[2])
end

-- The next job among those that are set aside, when it is before the lowest of the ring; `ringTag` is nil when nobody is
-- there. Returns what `pick` returns, nil when it is the ring's turn.
local function pickAside(gated, ringTag, read)
  local base = gated.base
  local floor = math.min(tonumber(native('HGET', base .. 'fair:n', 'v') or 0), ringTag or math.huge)
  for _ = 1, 8 do
    local best = lowestAside(gated, floor, ringTag)
    if not best then
      return nil
    end
    local use = limits().useOf(base, best.group)
    local due = limits().dueOf(use)
    if due then
      hold(gated, best.task, use, due)
    elseif ringTag and isBehind(base, best.task, best.group) then
      -- Its group is in the ring, at the same tag.
      return nil
    else
      local jobId, more, slot = serve(gated, best, use, read)
      if jobId then
        return jobId, more, slot
      end
    end
  end
  -- Others may stand behind those: somebody has to come.
  wake(base)
end

gatesMemo = {
  open = open, pass = pass, release = release, releaseLost = releaseLost, mark = mark, adoptAmong = adoptAmong, repair = repair, readGate = readGate, tokensOf = tokensOf,
  paceOf = paceOf, runningOf = runningOf, wake = wake, wakeTask = wakeTask, now = now, admit = admit, pickAside = pickAside,
  takeAside = takeAside, relist = relist, settle = settle, partsOf = partsOf, dueAt = dueAt,
  remember = remember,
}
return gatesMemo
