-- The ring, see base.lua and limits.lua: groups with limits that come, go, or are held. Built by parking().

local useOf, dueOf = limits().useOf, limits().dueOf

local function inWords(number)
  return string.format('%.0f', number)
end

-- Makes the earliest time in `park` known to the claims and, when nothing can run before it, to sleeping workers.
local function announcePark(base)
  local first = native('ZRANGE', base .. 'fair:park', '0', '0', 'WITHSCORES')
  local due = tonumber(first[2])
  if not due or due >= HELD then
    native('HDEL', base .. 'meta', 'fair:due')
    return
  end
  local ms = inWords(math.ceil(due / 1000))
  native('HSET', base .. 'meta', 'fair:due', ms)
  if native('EXISTS', base .. 'fair:ring') == 0 then
    native('ZADD', base .. 'marker', 'LT', ms, '1')
  end
end

-- What a group's state says besides its gates: where it waits, where it has jobs set aside, its latest theoretical arrival
-- time, and how many of its jobs are active.
local function stateOf(use)
  local waits, asides, lastTat, run = {}, {}, 0, 0
  local fields = native('HGETALL', use.key)
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    local kind, queue = string.match(field, '^([wa]):(.*)$')
    if kind == 'w' then
      waits[#waits + 1] = queue
    elseif kind == 'a' then
      asides[#asides + 1] = queue
    elseif string.sub(field, 1, 3) == 'tat' then
      lastTat = math.max(lastTat, tonumber(value))
    elseif field == 'run' then
      run = tonumber(value)
    end
  end
  return waits, asides, lastTat, run
end

-- The state of a group without waiting and active jobs goes, as soon as its rate has recovered.
local function forgetIfIdle(use)
  local waits, asides, lastTat, run = stateOf(use)
  if #waits > 0 or #asides > 0 or run > 0 then
    return
  end
  local time = lastTat > 0 and native('TIME')
  if time and lastTat > time[1] * 1000000 + time[2] then
    native('PEXPIREAT', use.key, inWords(math.ceil(lastTat / 1000)))
  else
    native('DEL', use.key)
  end
end

-- Nothing of the group waits in this queue any more, or nothing that limits could hold.
local function departed(use)
  native('HDEL', use.key, 'w:' .. use.queue)
  forgetIfIdle(use)
end

local function left(base, group)
  departed(useOf(base, group))
end

-- A group that is in the ring at `tag` has lost its last job, other than by a start.
local function emptied(base, group, member, tag)
  local activation, weight, flags, start = string.match(member, OF_MEMBER)
  local owed = flags % 2 == 1 and math.min(discountOf(activation, weight), tag - start) or 0
  leaveRing(base, group, member, tag + owed)
  if flags > '1' then
    left(base, group)
  end
end

local function enter(use)
  local activation, tell = enterAt(use.base, use.group, use.weight, use.limited and 2 or 0)
  if activation == 1 then
    registerQueue(use.base)
  end
  return tell
end

local function parkNow(use, due)
  local idx = use.base .. 'fair:idx'
  if native('HSETNX', idx, use.group, '') == 0 then
    -- Its queue was lost, as in enterAt.
    local member = native('HGET', idx, use.group)
    local tag = native('ZSCORE', use.base .. 'fair:ring', member)
    if tag then
      leaveRing(use.base, use.group, member, tonumber(tag), due)
    end
  end
  native('ZADD', use.base .. 'fair:park', due, use.group)
  announcePark(use.base)
end

-- The group waits in this queue, until `due` if that is given: for a time, or for an event that release() has to look for.
local function waitsHere(use, due)
  native('HSET', use.key, 'w:' .. use.queue, '1')
  if due == HELD then
    native('HSET', use.key, 'held', '1')
  end
  native('PERSIST', use.key)
end

-- A group with limits has its first waiting job. Returns what enterRing does.
local function arrive(base, group)
  local use = useOf(base, group)
  local due = dueOf(use)
  if use.limited then
    waitsHere(use, due)
  end
  registerQueue(base)
  if due then
    parkNow(use, due)
    return false
  end
  return true, enter(use)
end

local function lowestTag(base)
  return tonumber(native('ZRANGE', base .. 'fair:ring', '0', '0', 'WITHSCORES')[2])
end

-- Brings a group that waits in a queue to where its limits and weight want it now. Returns whether it came into the ring.
-- `quietly`: the caller announces that, when it has settled several.
local function settle(base, group, quietly)
  if string.byte(group) == 0 then
    return gates().settle(base, group)
  end
  local idx, park = base .. 'fair:idx', base .. 'fair:park'
  local member = native('HGET', idx, group)
  local use = useOf(base, group)
  if native('HEXISTS', use.key, 'a:' .. use.queue) == 1 then
    gates().relist(base, group)
  end
  if not member then
    native('ZREM', park, group)
    departed(use)
    return false
  end
  local due = dueOf(use)
  if use.limited then
    waitsHere(use, due)
  else
    departed(use)
  end
  if member == '' then
    if due then
      native('ZADD', park, due, group)
    else
      native('ZREM', park, group)
      native('HDEL', idx, group)
      enter(use)
    end
    if not quietly then
      announcePark(base)
      if not due then
        native('ZADD', base .. 'marker', '0', '0')
      end
    end
    return not due
  end
  local ring = base .. 'fair:ring'
  local tag = tonumber(native('ZSCORE', ring, member))
  local activation, weight, flags, start = string.match(member, OF_MEMBER)
  local fresh = flags % 2
  if due then
    local owed = fresh == 1 and math.min(discountOf(activation, weight), tag - start) or 0
    leaveRing(base, group, member, tag + owed, due)
    if not quietly then
      announcePark(base)
    end
    return false
  end
  local newFlags = fresh + (use.limited and 2 or 0)
  if tonumber(weight) ~= tonumber(use.weight) or newFlags ~= tonumber(flags) then
    local moved = rescaled(tag, lowestTag(base), tonumber(weight), tonumber(use.weight))
    local changed = activation .. ':' .. use.weight .. ':' .. newFlags
      .. string.format(':%.0f:', tag == tonumber(start) and moved or -1) .. group
    native('ZREM', ring, member)
    native('ZADD', ring, moved, changed)
    native('HSET', idx, group, changed)
  end
  return false
end

-- What happened in one queue moves the group in the others.
local function settleElsewhere(use)
  for _, queue in ipairs((stateOf(use))) do
    if queue ~= use.queue then
      settle(use.prefix .. queue .. ':', use.group)
    end
  end
end

-- A group pays for a job that it has had already: in the ring by its tag, elsewhere by its finish tag. When nothing waits in
-- the queue there is nobody to owe it.
local function charge(use, units)
  local base, ring = use.base, use.base .. 'fair:ring'
  local extra = math.min(math.floor(units * UNIT / use.weight), 0x2000000000000)
  local member = native('HGET', base .. 'fair:idx', use.group)
  if member and member ~= '' then
    local tag = tonumber(native('ZSCORE', ring, member))
    local activation, weight, flags, start = string.match(member, OF_MEMBER)
    if flags % 2 == 1 and tag == tonumber(start) then
      -- Still fresh: what it is to be spared of its first charge goes with it.
      native('ZREM', ring, member)
      member = activation .. ':' .. weight .. ':' .. flags .. ':' .. inWords(tag + extra) .. ':' .. use.group
      native('HSET', base .. 'fair:idx', use.group, member)
    end
    native('ZADD', ring, tag + extra, member)
    return
  end
  if native('EXISTS', base .. 'fair:idx', base .. 'fair:bk') == 0 then
    return
  end
  local now = lowestTag(base) or tonumber(native('HGET', base .. 'fair:n', 'v') or 0)
  local finish = math.max(now, finishOf(base, use.group, use.weight, now)) + extra
  native('ZADD', base .. 'fair:fin', finish, 'f' .. use.group, -use.weight, 'w' .. use.group)
end

local function chargeForTime(use, startedAt)
  local time = native('TIME')
  local ranMs = time[1] * 1000 + time[2] / 1000 - startedAt
  if ranMs > 0 then
    charge(use, ranMs / use.charge)
  end
end

-- What release() has left to do: somebody may be `held` for want of the slot, the run may have to be paid for, or nothing
-- more of the group is there.
local function released(base, group, startedAt, held)
  local use = useOf(base, group)
  if use.charge and startedAt and startedAt ~= '' then
    chargeForTime(use, tonumber(startedAt))
  end
  if held then
    native('HDEL', use.key, 'held')
    local waits, asides = stateOf(use)
    for _, queue in ipairs(waits) do
      local there = use.prefix .. queue .. ':'
      local due = native('ZSCORE', there .. 'fair:park', group)
      if due and tonumber(due) >= HELD then
        settle(there, group)
      end
    end
    for _, queue in ipairs(asides) do
      gates().relist(use.prefix .. queue .. ':', group)
    end
  end
  forgetIfIdle(use)
end

-- Those of some active jobs of a queue that have no slot.
local function withoutSlot(slots, queue, jobIds)
  local fields, without = {}, {}
  for i, jobId in ipairs(jobIds) do
    fields[i] = queue .. ':' .. jobId
  end
  for i, group in ipairs(native('HMGET', slots, unpack(fields))) do
    if not group then
      without[#without + 1] = jobIds[i]
    end
  end
  return without
end

-- Gives slots to those of some active jobs that started before their group had limits. `only`: those of this group, `*` for all.
local function adoptAmong(base, jobIds, only)
  local prefix, queue = string.match(base, OF_QUEUE)
  local slots, adopted, limited = prefix .. ':fair:slots', 0, {}
  for _, jobId in ipairs(jobIds[1] and withoutSlot(slots, queue, jobIds) or {}) do
    local group = groupOfOptions(native('HGET', base .. jobId, 'opts'))
    if group and (only == '*' or group == only) then
      if limited[group] == nil then
        limited[group] = useOf(base, group).limited or false
      end
      if limited[group] then
        local key = prefix .. ':fair:state:' .. group
        native('HSET', slots, queue .. ':' .. jobId, group)
        native('HSET', base .. jobId, 'slot', ':' .. group)
        native('HINCRBY', key, 'run', '1')
        native('HINCRBY', key, 'run:' .. queue, '1')
        native('PERSIST', key)
        adopted = adopted + 1
      end
    end
  end
  return adopted
end

-- The same for all active jobs.
local function adopt(base, only)
  for from = 0, math.huge, 100 do
    local jobIds = native('LRANGE', base .. 'active', from, from + 99)
    adoptAmong(base, jobIds, only)
    if #jobIds < 100 then
      return
    end
  end
end

-- Settles several groups of a queue.
local function settleAll(base, groups)
  local isFree = false
  for _, group in ipairs(groups) do
    isFree = settle(base, group, true) or isFree
  end
  announcePark(base)
  if isFree then
    native('ZADD', base .. 'marker', '0', '0')
  end
end

-- Lets groups go whose time has come; at most so many, since each costs some ten calls, and the next script goes on.
local function unpark(base, most)
  local time = native('TIME')
  local now = inWords(time[1] * 1000000 + time[2])
  settleAll(base, native('ZRANGEBYSCORE', base .. 'fair:park', '-inf', now, 'LIMIT', 0, most))
end

-- The earlier of a time of delayed jobs (ms of the caller's clock, or nil) and the next in `park`, by the caller's clock.
local function nextDue(base, timestamp, delayed)
  local due = tonumber(native('HGET', base .. 'meta', 'fair:due'))
  if not due then
    return delayed
  end
  local time = native('TIME')
  due = math.max(due - time[1] * 1000 - math.floor(time[2] / 1000), 0) + timestamp
  return delayed and math.min(delayed, due) or due
end

parkingMemo = {
  departed = departed, settleElsewhere = settleElsewhere, released = released, arrive = arrive, left = left, emptied = emptied, settle = settle, settleAll = settleAll,
  adopt = adopt, adoptAmong = adoptAmong, charge = charge, unpark = unpark, nextDue = nextDue, announcePark = announcePark,
}
return parkingMemo
