--[[
  The ring, see base.lua: groups with limits. All of this stands in one function, limits(), which builds it only when such
  a group is met: a group without limits does not pay for it.

  Limits in the hash `limits`: a number is a weight and nothing else; an object has
    w weight   m how many jobs may be active at once   e, t the rate: a token each e microseconds, t of them in advance
    c the run time in ms that counts as one more job, charged when a job leaves the active list
    u paused until then (microseconds of Redis' clock), -1 without end   i only u is its own, the rest is that of `*`
    q { <queue>: { w, m, e, t, c } }, which hold in that queue beside the group's own (w, c: instead of it)
  Rate is GCRA (ITU-T I.371): a job may start when the theoretical arrival time, less the tolerance t, has come.

  Use, in state:<group>: run, run:<queue> active jobs; tat, tat:<queue> theoretical arrival times; w:<queue> where its jobs
  wait, a:<queue> where some are set aside and held by limits (see aside.lua); held, set while it may be HELD in `park` somewhere. The group-wide ones hold for all queues of the prefix, so what
  happens in one queue moves the group in the others.
  `slots` is the truth about active jobs, also of those whose hash is gone; run counts it. A job's hash has the field slot,
  "<when it started, ms of Redis' clock, if that is charged>:<group>".
]]

local function decoded(text)
  if text and string.byte(text) == 123 then
    return cjson.decode(text)
  end
  return { w = text or '1' }
end

local function gateOf(state, suffix, limit)
  return {
    runField = 'run' .. suffix, run = tonumber(state['run' .. suffix]) or 0, max = tonumber(limit.m),
    tatField = 'tat' .. suffix, tat = tonumber(state['tat' .. suffix]) or 0, every = tonumber(limit.e),
    ahead = tonumber(limit.t) or 0,
  }
end

-- Everything that decides about a group in one queue, as of now. Two calls, three when it has a rate or a pause, unless
-- `atAnyTime`: then it does not say what these two allow now.
local function useOf(base, group, atAnyTime)
  local prefix, queue = string.match(base, OF_QUEUE)
  local found = native('HMGET', prefix .. ':fair:limits', group, '*')
  local limit = decoded(found[1] or found[2])
  local pausedUntil = tonumber(limit.u)
  if limit.i then
    limit = decoded(found[2])
    local others = tonumber(limit.u)
    -- The longer pause counts; -1 is the longest.
    if others and (others < 0 or (pausedUntil and pausedUntil >= 0 and others > pausedUntil) or not pausedUntil) then
      pausedUntil = others
    end
  end
  local own = limit.q and limit.q[queue] or {}
  local key = prefix .. ':fair:state:' .. group
  local state, waits, asides, lastTat = {}, {}, {}, 0
  local fields = native('HGETALL', key)
  for i = 1, #fields, 2 do
    state[fields[i]] = fields[i + 1]
    if string.sub(fields[i], 1, 2) == 'w:' then
      waits[#waits + 1] = string.sub(fields[i], 3)
    elseif string.sub(fields[i], 1, 2) == 'a:' then
      asides[string.sub(fields[i], 3)] = true
    elseif string.sub(fields[i], 1, 3) == 'tat' then
      lastTat = math.max(lastTat, tonumber(fields[i + 1]))
    end
  end
  local use = {
    base = base, prefix = prefix, queue = queue, group = group, key = key, waits = waits, asides = asides, lastTat = lastTat, pausedUntil = pausedUntil,
    weight = own.w or limit.w or '1', charge = tonumber(own.c or limit.c), gateOf(state, '', limit), gateOf(state, ':' .. queue, own),
  }
  use.timed = use[1].every or use[2].every or use.charge or (pausedUntil and pausedUntil >= 0)
  use.limited = use.timed or use[1].max or use[2].max or pausedUntil
  if use.timed and not atAnyTime then
    local time = native('TIME')
    use.now = time[1] * 1000000 + time[2]
    for i = 1, 2 do
      local gate = use[i]
      -- A debt that the rate of now could not have made is from another rate, or another clock.
      local most = use.now + gate.ahead + (gate.every or 0)
      if gate.every and gate.tat > most then
        gate.tat = math.ceil(most)
        native('HSET', key, gate.tatField, string.format('%.0f', gate.tat))
      end
    end
  end
  return use
end

-- When the group's next job may start: a time, HELD, or nil for now.
local function dueOf(use)
  local due = use.pausedUntil or 0
  if due < 0 then
    return HELD
  end
  for i = 1, 2 do
    local gate = use[i]
    if gate.max and gate.run >= gate.max then
      return HELD
    end
    if gate.every then
      due = math.max(due, gate.tat - gate.ahead)
    end
  end
  return use.now and due > use.now and due or nil
end

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

-- The state of a group without waiting and active jobs goes, as soon as its rate has recovered.
local function forgetIfIdle(use)
  if #use.waits > 0 or next(use.asides) or use[1].run > 0 then
    return
  end
  local time = use.lastTat > 0 and native('TIME')
  if time and use.lastTat > time[1] * 1000000 + time[2] then
    native('PEXPIREAT', use.key, inWords(math.ceil(use.lastTat / 1000)))
  else
    native('DEL', use.key)
  end
end

local function without(list, item)
  local out = {}
  for _, each in ipairs(list) do
    if each ~= item then
      out[#out + 1] = each
    end
  end
  return out
end

-- Nothing of the group waits in this queue any more, or nothing that limits could hold.
local function departed(use)
  native('HDEL', use.key, 'w:' .. use.queue)
  use.waits = without(use.waits, use.queue)
  forgetIfIdle(use)
end

local function left(base, group)
  departed(useOf(base, group))
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
local function settle(base, group)
  if string.byte(group) == 0 then
    return gates().settle(base, group)
  end
  local idx, park = base .. 'fair:idx', base .. 'fair:park'
  local member = native('HGET', idx, group)
  local use = useOf(base, group)
  if use.asides[use.queue] then
    gates().relist(base, group)
    use.asides[use.queue] = nil
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
      announcePark(base)
      return false
    end
    native('ZREM', park, group)
    native('HDEL', idx, group)
    enter(use)
    announcePark(base)
    native('ZADD', base .. 'marker', '0', '0')
    return true
  end
  local ring = base .. 'fair:ring'
  local tag = tonumber(native('ZSCORE', ring, member))
  local activation, weight, flags, start = string.match(member, OF_MEMBER)
  local fresh = flags % 2
  if due then
    local owed = fresh == 1 and tag > tonumber(start) and discountOf(activation, weight) or 0
    leaveRing(base, group, member, tag + owed, due)
    announcePark(base)
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

local function settleElsewhere(use)
  for _, queue in ipairs(use.waits) do
    if queue ~= use.queue then
      settle(use.prefix .. queue .. ':', use.group)
    end
  end
end

local function slotField(use)
  return (use.charge and inWords(math.floor(use.now / 1000)) or '') .. ':' .. use.group
end

-- A job of the group starts. `more`: whether others wait behind it here; `free`: it only passes through to be failed (it
-- stalled too often) and spends no token. Returns when the next one may start, as dueOf, and what the job's hash is to
-- have in the field slot.
local function occupy(use, jobId, more, free)
  local changes = {}
  for i = 1, 2 do
    local gate = use[i]
    gate.run = gate.run + 1
    changes[#changes + 1], changes[#changes + 2] = gate.runField, gate.run
    if gate.every and not free then
      gate.tat = math.ceil(math.max(gate.tat, use.now) + gate.every)
      use.lastTat = math.max(use.lastTat, gate.tat)
      changes[#changes + 1], changes[#changes + 2] = gate.tatField, inWords(gate.tat)
    end
  end
  local due = dueOf(use)
  if due == HELD then
    changes[#changes + 1], changes[#changes + 2] = 'held', '1'
  end
  native('HSET', use.key, unpack(changes))
  native('HSET', use.prefix .. ':fair:slots', use.queue .. ':' .. jobId, use.group)
  if not more then
    departed(use)
  end
  if due and #use.waits > 0 then
    settleElsewhere(use)
  end
  return due, slotField(use)
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

-- A job is not active any more. Whatever was held for its slot may run. `slot` is what its hash has in that field; the hash
-- itself is the caller's to clean.
local function release(base, jobId, slot)
  local prefix, queue = string.match(base, OF_QUEUE)
  local slots, field = prefix .. ':fair:slots', queue .. ':' .. jobId
  local startedAt, group = string.match(slot or '', '^(%d*):(.*)$')
  group = group or native('HGET', slots, field)
  if not group or native('HDEL', slots, field) == 0 then
    return false
  end
  local key, runHere = prefix .. ':fair:state:' .. group, 'run:' .. queue
  local state = native('HMGET', key, 'run', runHere, 'held', 'w:' .. queue)
  local run = (tonumber(state[1]) or 0) - 1
  native('HSET', key, 'run', run, runHere, (tonumber(state[2]) or 0) - 1)
  -- Mostly nobody waits for the slot, and there is more to come: then that was all.
  if not state[3] and (startedAt or '') == '' and (run > 0 or state[4]) then
    return true
  end
  local use = useOf(base, group, true)
  if use.charge and startedAt and startedAt ~= '' then
    chargeForTime(use, tonumber(startedAt))
  end
  if state[3] then
    native('HDEL', key, 'held')
  end
  for _, waiting in ipairs(state[3] and use.waits or {}) do
    local there = prefix .. waiting .. ':'
    local due = native('ZSCORE', there .. 'fair:park', group)
    if due and tonumber(due) >= HELD then
      settle(there, group)
    end
  end
  for waiting in pairs(state[3] and use.asides or {}) do
    gates().relist(prefix .. waiting .. ':', group)
    use.asides[waiting] = nil
  end
  forgetIfIdle(use)
  return true
end

-- Those of a queue's active jobs that have no slot.
local function withoutSlot(base, slots, queue)
  local jobIds, without = native('LRANGE', base .. 'active', '0', '-1'), {}
  for from = 1, #jobIds, 500 do
    local fields = {}
    for i = from, math.min(from + 499, #jobIds) do
      fields[#fields + 1] = queue .. ':' .. jobIds[i]
    end
    for i, group in ipairs(native('HMGET', slots, unpack(fields))) do
      if not group then
        without[#without + 1] = jobIds[from + i - 1]
      end
    end
  end
  return without
end

-- Gives slots to active jobs that started before their group had limits. `only`: those of this group, `*` for all.
local function adopt(base, only)
  local prefix, queue = string.match(base, OF_QUEUE)
  local slots, adopted, limited = prefix .. ':fair:slots', 0, {}
  for _, jobId in ipairs(withoutSlot(base, slots, queue)) do
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

-- How many groups one call lets go when many are due at once: each costs some ten calls, and the next call goes on.
local UNPARK = 8

-- Lets groups go whose time has come.
local function unpark(base)
  local time = native('TIME')
  local now = inWords(time[1] * 1000000 + time[2])
  local groups = native('ZRANGEBYSCORE', base .. 'fair:park', '-inf', now, 'LIMIT', 0, UNPARK)
  for _, group in ipairs(groups) do
    settle(base, group)
  end
  if #groups == 0 then
    announcePark(base)
  end
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

limitsMemo = {
  useOf = useOf, dueOf = dueOf, arrive = arrive, left = left, occupy = occupy, release = release, settle = settle,
  adopt = adopt, charge = charge, unpark = unpark, nextDue = nextDue, announcePark = announcePark,
}
return limitsMemo
