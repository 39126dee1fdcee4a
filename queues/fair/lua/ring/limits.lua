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
  "<when it started, ms of Redis' clock, if that is charged>:<group>".
]]

local NONE, NO_LIMIT, time, lastBase, lastPrefix, lastQueue = {}, { w = '1' }, nil, nil, nil, nil

local function placeOf(base)
  if base ~= lastBase then
    lastBase, lastPrefix, lastQueue = base, string.match(base, OF_QUEUE)
  end
  return lastPrefix, lastQueue
end

local known = {} -- text -> what it says: in a series of picks it is mostly the same

local function decoded(text)
  if not text then
    return NO_LIMIT
  end
  local limit = known[text]
  if not limit then
    limit = string.byte(text) == 123 and cjson.decode(text) or { w = text }
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
local function gateOf(limit, suffix, run, tat)
  return {
    runField = 'run' .. suffix, run = tonumber(run) or 0, max = tonumber(limit.m),
    tatField = 'tat' .. suffix, tat = tonumber(tat) or 0, every = tonumber(limit.e), ahead = tonumber(limit.t) or 0,
  }
end

-- Everything that decides about a group in one queue, as of now. Two calls, three when it has a rate or a pause.
local function useOf(base, group)
  local prefix, queue = placeOf(base)
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
  local own = limit.q and limit.q[queue] or NONE
  local key, here = prefix .. ':fair:state:' .. group, ':' .. queue
  local state = native('HMGET', key, 'run', 'tat', 'run' .. here, 'tat' .. here)
  local use = {
    base = base, prefix = prefix, queue = queue, group = group, key = key, pausedUntil = pausedUntil,
    weight = own.w or limit.w or '1', charge = tonumber(own.c or limit.c), timed = false, limited = false, now = false,
    gateOf(limit, '', state[1], state[2]), gateOf(own, here, state[3], state[4]),
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
      changes[#changes + 1], changes[#changes + 2] = gate.tatField, string.format('%.0f', gate.tat)
    end
  end
  local due = dueOf(use)
  if due == HELD then
    changes[#changes + 1], changes[#changes + 2] = 'held', '1'
  end
  native('HSET', use.key, unpack(changes))
  native('HSET', use.prefix .. ':fair:slots', use.queue .. ':' .. jobId, use.group)
  if not more then
    parking().departed(use)
  end
  if due then
    parking().settleElsewhere(use)
  end
  return due, (use.charge and string.format('%.0f', math.floor(use.now / 1000)) or '') .. ':' .. use.group
end

-- A job is not active any more. Whatever was held for its slot may run. `slot` is what its hash has in that field; the hash
-- itself is the caller's to clean.
local function release(base, jobId, slot)
  local prefix, queue = placeOf(base)
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
  parking().released(base, group, startedAt, state[3])
  return true
end

limitsMemo = { useOf = useOf, dueOf = dueOf, occupy = occupy, release = release }
return limitsMemo
