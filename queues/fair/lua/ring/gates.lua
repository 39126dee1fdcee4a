--[[
  The ring, see base.lua: what a whole queue and a whole task may do, over all groups. As limits.lua, all of this stands
  in a function, gates(), which builds it only where there is such a gate; who has none does not pay for it: each claim
  reads `meta` anyway, and that says which there are.

  A gate has m, how many jobs may be active at once, and a rate: e, microseconds between two starts; b, how many may start
  at once. A prefix that is one of several shards has a part of each: m is its part, and a of b units of the rate, which is
  a token each e * b / a microseconds and at most a of them. It is closed while m is reached, or no token is there.

  A job is counted while it is active: those of a queue by the length of its active list, those of a task in a set, so
  there is no count that could drift. A rate is GCRA on Redis' clock, as in limits.lua.

  While a queue's gate is closed nothing of it starts. A job whose task's gate is closed must be in nobody's way: when a
  pick meets it, it is set aside; see aside.lua.

  Keys
    In `meta` of each queue: fair:gates, JSON { q: 1 when the queue has a gate, t: { <task>: 1 for each that has one } }
  Shard-wide, all under <prefix>::fair:
    gates         HASH  fence, the highest fencing number of a change; q:<queue>, t:<task> JSON { m, e, b, a };
                        tat:q:<queue>, tat:t:<task> theoretical arrival times
    gate:<task>   SET   <queue>:<job id> of every active job of a task with a gate; its hash has the task in the field gate
    aside:<task>  SET   queues in which jobs of the task are set aside
]]

-- Another member of `park`: nobody's, only a time at which a gate opens.
local TIMER = '\0t'

local time -- microseconds of Redis' clock, when this script has asked
local function now()
  if not time then
    local reply = native('TIME')
    time = reply[1] * 1000000 + reply[2]
  end
  return time
end

local function inWords(number)
  return string.format('%.0f', number)
end

-- A gate by its kind ('q:' or 't:') and name; nil when there is none. `prefix` ends with a colon.
local function readGate(prefix, kind, name)
  local found = native('HMGET', prefix .. ':fair:gates', kind .. name, 'tat:' .. kind .. name)
  if not found[1] then
    return nil
  end
  local gate = cjson.decode(found[1])
  gate.prefix, gate.field, gate.tat = prefix, kind .. name, tonumber(found[2] or 0)
  return gate
end

-- The time between two starts, and how far arrivals may be ahead of it.
local function paceOf(gate)
  local every = gate.e * gate.b / gate.a
  return every, every * (gate.a - 1)
end

-- How many tokens of its rate a gate has; fractions count.
local function tokensOf(gate)
  if not gate.e or gate.a == 0 then
    return 0
  end
  return math.max(0, math.min(gate.a, gate.a - (gate.tat - now()) / paceOf(gate)))
end

-- When the next job may pass: a time, HELD, or nil for now. `run`: how many are active.
local function dueAt(gate, run)
  if gate.m and run >= gate.m then
    return HELD
  elseif not gate.e then
    return nil
  elseif gate.a == 0 then
    return HELD
  end
  local every, ahead = paceOf(gate)
  -- A debt that this rate could not have made is from another clock.
  gate.tat = math.min(gate.tat, math.ceil(now() + ahead + every))
  local due = gate.tat - ahead
  return due > now() and due or nil
end

local function spend(gate)
  if gate.e then
    local tat = math.ceil(math.max(gate.tat, now()) + paceOf(gate))
    native('HSET', gate.prefix .. ':fair:gates', 'tat:' .. gate.field, inWords(tat))
  end
end

local function runningOf(prefix, task)
  return native('SCARD', prefix .. ':fair:gate:' .. task)
end

local function wake(base)
  native('ZADD', base .. 'marker', '0', '0')
end

-- Has workers look again at a time, whatever else there is to wait for.
local function wakeAt(base, due)
  if native('ZADD', base .. 'fair:park', 'LT', 'CH', inWords(due), TIMER) == 1 then
    parking().announcePark(base)
    native('ZADD', base .. 'marker', 'LT', inWords(math.ceil(due / 1000)), '1')
  end
end

-- What a claim in a queue has to heed, made of the fields fair:gates, fair:aside and concurrency of its `meta`; false when
-- nothing of the queue may start now.
local function open(base, stored, aside, concurrency)
  local prefix, queue = string.match(base, OF_QUEUE)
  local marks = stored and cjson.decode(stored) or {}
  local gated = { base = base, prefix = prefix, queue = queue, aside = aside and true, tasks = marks.t or {}, dues = {} }
  gated.gate = marks.q and readGate(prefix, 'q:', queue)
  local most = tonumber(concurrency or nil)
  local run = (most or gated.gate and gated.gate.m) and native('LLEN', base .. 'active') or 0
  local due = most and run >= most and HELD or gated.gate and dueAt(gated.gate, run)
  if not due then
    return gated
  end
  if due < HELD and native('EXISTS', base .. 'fair:idx') == 1 then
    wakeAt(base, due)
  end
  return false
end

-- When a job of a task may start, as far as its gate goes: a time, HELD, or false for now.
local function dueOfTask(gated, task)
  local due = gated.dues[task]
  if due == nil then
    local gate = gated.tasks[task] and readGate(gated.prefix, 't:', task)
    due = gate and dueAt(gate, gate.m and runningOf(gated.prefix, task) or 0) or false
    gated.dues[task], gated.gates = due, gated.gates or {}
    gated.gates[task] = gate or nil
    if due and due < HELD then
      wakeAt(gated.base, due)
    end
  end
  return due
end

-- A job starts: takes its tokens, and its place in its task. `free`: it only passes through to be failed. Returns what
-- its hash is to have in the field gate, if anything.
local function pass(gated, jobId)
  if gated.gate and not gated.free then
    spend(gated.gate)
  end
  local gate = gated.task and gated.gates and gated.gates[gated.task]
  if not gate then
    return nil
  end
  native('SADD', gated.prefix .. ':fair:gate:' .. gated.task, gated.queue .. ':' .. jobId)
  if not gated.free then
    spend(gate)
  end
  return gated.task
end

-- Workers of all queues in which jobs of a task are set aside look again.
local function wakeTask(prefix, task)
  for _, queue in ipairs(native('SMEMBERS', prefix .. ':fair:aside:' .. task)) do
    wake(prefix .. queue .. ':')
  end
end

-- An active job of a task with a gate is active no more. The hash of the job is the caller's to clean.
local function release(base, jobId, task)
  local prefix, queue = string.match(base, OF_QUEUE)
  if native('SREM', prefix .. ':fair:gate:' .. task, queue .. ':' .. jobId) == 0 then
    return false
  end
  wakeTask(prefix, task)
  return true
end

-- The same for one whose hash is gone, so that nobody knows its task.
local function releaseLost(base, jobId)
  local stored = native('HGET', base .. 'meta', 'fair:gates')
  for task in pairs(stored and cjson.decode(stored).t or {}) do
    release(base, jobId, task)
  end
end

-- Says in `meta` of a queue which gates there are for it.
local function mark(base)
  local prefix, queue = string.match(base, OF_QUEUE)
  local marks, some = { t = {} }, false
  for _, field in ipairs(native('HKEYS', prefix .. ':fair:gates')) do
    local kind, name = string.match(field, '^([qt]):(.*)$')
    if kind == 't' then
      marks.t[name], some = 1, true
    elseif kind == 'q' and name == queue then
      marks.q, some = 1, true
    end
  end
  if some then
    native('HSET', base .. 'meta', 'fair:gates', cjson.encode(marks))
  else
    native('HDEL', base .. 'meta', 'fair:gates')
  end
end

-- Counts those of some active jobs of a queue that started before their task had a gate. `tasks`: name -> anything.
local function adoptAmong(base, jobIds, tasks)
  local prefix, queue = string.match(base, OF_QUEUE)
  local adopted = 0
  for _, jobId in ipairs(jobIds) do
    local task = native('HGET', base .. jobId, 'name')
    if task and tasks[task] and native('SADD', prefix .. ':fair:gate:' .. task, queue .. ':' .. jobId) == 1 then
      native('HSET', base .. jobId, 'gate', task)
      adopted = adopted + 1
    end
  end
  return adopted
end

-- Takes out of the sets of running jobs what does not run in this queue any more. `active`: the ids that do. Returns how many.
local function repair(base, active)
  local prefix, queue = string.match(base, OF_QUEUE)
  local stored = native('HGET', base .. 'meta', 'fair:gates')
  local tasks, own, released = stored and cjson.decode(stored).t or {}, queue .. ':', 0
  for task in pairs(tasks) do
    for _, member in ipairs(native('SMEMBERS', prefix .. ':fair:gate:' .. task)) do
      local jobId = string.sub(member, #own + 1)
      if string.sub(member, 1, #own) == own and not active[jobId] and release(base, jobId, task) then
        released = released + 1
      end
    end
  end
  -- Jobs that went unnoticed may have closed the queue's own gate.
  if stored and native('EXISTS', base .. 'fair:idx') == 1 then
    wake(base)
  end
  return released
end
