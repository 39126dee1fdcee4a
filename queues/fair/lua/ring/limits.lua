--[[
  The ring, see base.lua: groups with limits. All of this stands in one function, limits(), which builds it only when such
  a group is met: a group without limits does not pay for it. What is needed only when a group comes, goes, or is held is in
  parking(), see parking.lua: a group that its limits do not hold does not pay for that.

  Limits in the hash `limits`: a number is a weight and nothing else; an object has
    w weight   m how many jobs may be active at once   e, t the rate: a token each e microseconds, t of them in advance
    c the run time in ms that counts as one more job, charged when a job leaves the active list
    u paused until then (microseconds of Redis' clock), -1 without end   i only u is its own, the rest is that of `*`
    q { <queue>: { w, m, e, t, c } }, which hold in that queue beside the group's own (w, c: instead of it)
  Rate is GCRA (ITU-T I.371): a job may start when the theoretical arrival time, less the tolerance t, has come.

  Use, in state:<group>: run, run:<queue> active jobs; tat, tat:<queue> theoretical arrival times; w:<queue> where its jobs
  wait, a:<queue> where some are set aside and held by limits (see aside.lua); held, set while it may be HELD in `park`
  somewhere. The group-wide ones hold for all queues of the prefix, so what happens in one queue moves it in the others.
  `slots` is the truth about active jobs, also of those whose hash is gone; run counts it. A job's hash has the field slot,
  ":<group>", or "<when it started, ms of Redis' clock>/<c>/<w>:<group>" if its time is charged. What is charged in the end
  goes by the limits of then; those in slot tell the worker, which shares its slots among several rings.
]]

local NONE, NO_LIMIT, time = {}, { w = '1' }, nil

local places = {} -- base -> what it says, and the names that are made of it

local function placeOf(base)
  local place = places[base]
  if not place then
    local prefix, queue = string.match(base, OF_QUEUE)
    place = {
      prefix = prefix, queue = queue, limits = prefix .. ':fair:limits', state = prefix .. ':fair:state:',
      slots = prefix .. ':fair:slots', run = 'run:' .. queue, tat = 'tat:' .. queue, waits = 'w:' .. queue,
    }
    places[base] = place
  end
  return place
end

-- Counts as Redis has them. A number as an argument is printed with 17 digits each time.
local words = {}

local function wordOf(count)
  local word = words[count]
  if not word then
    word = string.format('%d', count)
    words[count] = word
  end
  return word
end

local known = {} -- text -> what it says: in a series of picks it is mostly the same

local function decoded(text)
  if not text then
    return NO_LIMIT
  end
  local limit = known[text]
  if not limit then
    limit = string.byte(text) == 123 and cjson.decode(text) or { w = text }
    limit.isPlain = not (limit.u or limit.c or limit.q)
    known[text] = limit
  end
  return limit
end

-- Redis' clock, which stands still for a script, in microseconds.
local function now()
  if not time then
    local reply = native('TIME')
    time = reply[1] * 1000000 + reply[2]
  end
  return time
end

-- One of the two sets of limits that a group has in a queue, and what is used of it.
local function gateOf(limit, runField, run, tatField, tat)
  return {
    runField = runField, run = tonumber(run) or 0, max = tonumber(limit.m),
    tatField = tatField, tat = tonumber(tat) or 0, every = tonumber(limit.e), ahead = tonumber(limit.t) or 0,
  }
end

-- Everything that decides about a group in one queue, as of now. Two calls, three when it has a rate or a pause.
local function useOf(base, group)
  local place = placeOf(base)
  local text, common = unpack(native('HMGET', place.limits, group, '*'))
  local limit = decoded(text or common)
  local pausedUntil = tonumber(limit.u)
  if limit.i then
    limit = decoded(common)
    local others = tonumber(limit.u)
    -- The longer pause counts; -1 is the longest.
    if others and (others < 0 or (pausedUntil and pausedUntil >= 0 and others > pausedUntil) or not pausedUntil) then
      pausedUntil = others
    end
  end
  local own = limit.q and limit.q[place.queue] or NONE
  local key = place.state .. group
  local state = native('HMGET', key, 'run', 'tat', place.run, place.tat)
  local use = {
    base = base, prefix = place.prefix, queue = place.queue, group = group, key = key, pausedUntil = pausedUntil,
    weight = own.w or limit.w or '1', charge = tonumber(own.c or limit.c), timed = false, limited = false, now = false,
    gateOf(limit, 'run', state[1], 'tat', state[2]), gateOf(own, place.run, state[3], place.tat, state[4]),
  }
  use.timed = use[1].every or use[2].every or use.charge or (pausedUntil and pausedUntil >= 0)
  use.limited = use.timed or use[1].max or use[2].max or pausedUntil
  if use.timed then
    use.now = now()
    for i = 1, 2 do
      local gate = use[i]
      -- A debt that the rate of now could not have made is from another rate, or another clock.
      local most = use.now + gate.ahead + (gate.every or 0)
      if gate.every and gate.tat > most then
        gate.tat = math.ceil(most)
        native('HSET', key, gate.tatField, string.format('%d', gate.tat))
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

local foreseen, default = {}, nil -- group -> its limits as stored, and those of `*`, when foresee() has read them

-- Reads the limits of a group and of all those that come after it in a series of picks: of the members in `front` from `at` on.
local function foresee(place, group, front, at)
  local groups = { '*', group }
  for i = at, #front, 2 do
    groups[#groups + 1] = string.match(front[i], '^%d+:[^:]+:[23]:[^:]+:(.*)$')
  end
  local texts = native('HMGET', place.limits, unpack(groups))
  default = texts[1]
  for i = 2, #groups do
    foreseen[groups[i]] = texts[i]
  end
end

-- What look() has found, one at a time: there is no need of a new table for each.
local quick = {}

-- For a pick, see foresee(): what decides about a group, and when its next job may start, as dueOf. Most groups have plain
-- limits (the same in all queues, no pause, no charge for time) and room for the job: that is little work. Two calls at
-- most, one in a series.
local function look(base, group, front, at)
  local place = placeOf(base)
  if foreseen[group] == nil then
    foresee(place, group, front, at)
  end
  local limit = decoded(foreseen[group] or default)
  if limit.isPlain then
    local key = place.state .. group
    local state = native('HMGET', key, 'run', place.run, 'tat')
    local run, tat, every, ahead = (state[1] or 0) + 0, (state[3] or 0) + 0, limit.e, limit.t or 0
    if not (limit.m and run >= limit.m) and not (every and tat - ahead > now()) then
      quick.isQuick, quick.base, quick.group, quick.place, quick.key, quick.limit = true, base, group, place, key, limit
      quick.run, quick.runHere, quick.tat = run, (state[2] or 0) + 0, tat
      return quick
    end
  end
  local use = useOf(base, group)
  return use, dueOf(use)
end

-- Nothing more of a group waits in this queue. Its state stays: it has an active job.
local function nothingWaits(base, key)
  native('HDEL', key, placeOf(base).waits)
end

-- A job has started. Returns when the next one may, as dueOf.
local function started(use, more)
  local due = dueOf(use)
  if due == HELD then
    native('HSET', use.key, 'held', '1')
  end
  if not more then
    nothingWaits(use.base, use.key)
  end
  if due then
    parking().settleElsewhere(use)
  end
  return due
end

-- occupy() after the little work of look().
local function occupyQuickly(jobId, more, free)
  local limit, place, run, tat = quick.limit, quick.place, quick.run + 1, quick.tat
  if limit.e and not free then
    tat = math.ceil(math.max(tat, now()) + limit.e)
    native('HSET', quick.key, 'run', wordOf(run), place.run, wordOf(quick.runHere + 1),
      'tat', string.format('%d', tat))
  else
    native('HSET', quick.key, 'run', wordOf(run), place.run, wordOf(quick.runHere + 1))
  end
  slotted[#slotted + 1], slotted[#slotted + 2] = place.queue .. ':' .. jobId, quick.group
  local due
  if limit.m and run >= limit.m or limit.e and tat - (limit.t or 0) > now() then
    due = started(useOf(quick.base, quick.group), more)
  elseif not more then
    nothingWaits(quick.base, quick.key)
  end
  return due, ':' .. quick.group
end

-- A job of the group starts. `more`: whether others wait behind it here; `free`: it only passes through to be failed (it
-- stalled too often) and spends no token. Returns when the next one may start, as dueOf, and what the job's hash is to
-- have in the field slot.
local function occupy(use, jobId, more, free)
  if use.isQuick then
    return occupyQuickly(jobId, more, free)
  end
  local changes = {}
  for i = 1, 2 do
    local gate = use[i]
    gate.run = gate.run + 1
    changes[#changes + 1], changes[#changes + 2] = gate.runField, wordOf(gate.run)
    if gate.every and not free then
      gate.tat = math.ceil(math.max(gate.tat, use.now) + gate.every)
      changes[#changes + 1], changes[#changes + 2] = gate.tatField, string.format('%d', gate.tat)
    end
  end
  native('HSET', use.key, unpack(changes))
  slotted[#slotted + 1], slotted[#slotted + 2] = use.queue .. ':' .. jobId, use.group
  local charged = use.charge and string.format('%.0f/%.0f/', math.floor(use.now / 1000), use.charge) .. use.weight or ''
  return started(use, more), charged .. ':' .. use.group
end

-- A job of the group, which has left `slots`, is not active any more. Whatever was held for its slot may run.
local function vacate(base, group, startedAt)
  local place = placeOf(base)
  local key = place.state .. group
  local state = native('HMGET', key, 'run', place.run, 'held', place.waits)
  local run = (state[1] or 0) - 1
  local isCharged = (startedAt or '') ~= ''
  local isLast = run <= 0 and not state[4]
  if isLast and not state[3] and not isCharged
    and native('HLEN', key) == (state[1] and 1 or 0) + (state[2] and 1 or 0) then
    -- It says no more: no rate is to recover, nothing waits elsewhere.
    native('DEL', key)
    return
  end
  native('HSET', key, 'run', wordOf(run), place.run, wordOf((state[2] or 0) - 1))
  -- Mostly nobody waits for the slot, and there is more to come: then that was all.
  if state[3] or isCharged or isLast then
    parking().released(base, group, startedAt, state[3])
  end
end

-- What the field slot of a job's hash says: when it started, if that is charged, and its group.
local function partsOf(slot)
  return string.match(slot or '', '^(%d*)[^:]*:(.*)$')
end

-- The same for a job that is still in `slots`; returns whether it was. `slot` is what its hash has in that field; the hash
-- itself is the caller's to clean.
local function release(base, jobId, slot)
  local place = placeOf(base)
  local field = place.queue .. ':' .. jobId
  local startedAt, group = partsOf(slot)
  group = group or native('HGET', place.slots, field)
  if not group or native('HDEL', place.slots, field) == 0 then
    return false
  end
  vacate(base, group, startedAt)
  return true
end

-- The same in two steps, for several at once: returns for each job in turn whether it was in `slots`, where it is no more.
local function takeSlots(base, jobIds)
  local place, fields = placeOf(base), {}
  for n = 1, #jobIds do
    fields[n] = place.queue .. ':' .. jobIds[n]
  end
  return takeFields(place.slots, fields)
end

-- For one that was.
local function vacateSlot(base, slot)
  local startedAt, group = partsOf(slot)
  vacate(base, group, startedAt)
end

limitsMemo = { useOf = useOf, dueOf = dueOf, look = look, occupy = occupy, release = release, takeSlots = takeSlots, vacateSlot = vacateSlot }
return limitsMemo
