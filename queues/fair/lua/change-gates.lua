--[[
  changeGates: what whole queues and tasks may do in this prefix, from the next pick on; and what they do.

  KEYS[1] <prefix>::fair:gates   KEYS[2] <prefix>::fair:queues   ARGV[1] "<prefix>:"
  ARGV[2] the caller's fencing number; when a higher one was here, nothing is changed, and the answer is -1. With 0 and no
          changes it only reads
  ARGV[3] JSON, the changes: [{ kind: "q" or "t", name, m, e, b, a (see ring/gates.lua), tokens, gone }]. A gate with a
          rate keeps the tokens that it has, as far as its new `a` goes, and gets `tokens` more: none unless somebody else has
          given them up. `gone` takes the gate away.
  Returns JSON, all gates after that: [{ kind, name, m, e, b, a, tokens, surplus (tokens it lost in this call), run (active
  jobs), waiting (jobs that it may hold back), weight (of the groups that have them) }].
  Cost: about 8 calls for each gate and change, and for a new gate of a task one for each active job.
]]
local prefix, fence, changes = ARGV[1], tonumber(ARGV[2]), cjson.decode(ARGV[3])
local reads = fence == 0 and #changes == 0
if not reads and fence < tonumber(native('HGET', KEYS[1], 'fence') or 0) then
  return -1
end

-- Most groups that are weighed; that is exact enough to share by, and a bound.
local WEIGHED = 128
local surplus = {}
local queues = native('HKEYS', KEYS[2])

local function baseOf(queue)
  return prefix .. queue .. ':'
end

local function markAll(kind, name)
  for _, queue in ipairs(queues) do
    if kind == 't' or queue == name then
      gates().mark(baseOf(queue))
    end
  end
end

local function wake(kind, name)
  if kind == 't' then
    gates().wakeTask(prefix, name)
  elseif native('EXISTS', baseOf(name) .. 'fair:idx') == 1 then
    gates().wake(baseOf(name))
  end
end

local function remove(kind, name)
  local field = kind .. ':' .. name
  native('HDEL', KEYS[1], field, 'tat:' .. field)
  if kind == 't' then
    native('UNLINK', prefix .. ':fair:gate:' .. name)
  end
end

local function store(change, old)
  local field, now = change.kind .. ':' .. change.name, gates().now()
  local had = old and gates().tokensOf(old) or 0
  local gate = { m = change.m, e = change.e, b = change.b, a = change.a }
  native('HSET', KEYS[1], field, cjson.encode(gate))
  if not gate.e then
    native('HDEL', KEYS[1], 'tat:' .. field)
    return
  end
  surplus[field] = math.max(0, had - gate.a)
  if gate.a > 0 then
    local tokens = math.min(gate.a, had + (change.tokens or 0))
    local tat = now + math.ceil((gate.a - tokens) * gates().paceOf(gate))
    native('HSET', KEYS[1], 'tat:' .. field, string.format('%.0f', tat))
  end
end

local function apply(change)
  local kind, name = change.kind, change.name
  local old = gates().readGate(prefix, kind .. ':', name)
  if change.gone then
    remove(kind, name)
  else
    store(change, old)
  end
  if change.gone or not old then
    markAll(kind, name)
  end
  if kind == 't' and not old and not change.gone then
    for _, queue in ipairs(queues) do
      local base = baseOf(queue)
      gates().adoptAmong(base, native('LRANGE', base .. 'active', '0', '-1'), { [name] = 1 })
    end
  end
  wake(kind, name)
end

local function weightOf(groups)
  if #groups == 0 then
    return 0
  end
  local sum, stored = 0, native('HMGET', prefix .. ':fair:limits', '*', unpack(groups))
  for i = 2, #stored do
    local text = stored[i] or stored[1] or '1'
    local limit = string.byte(text) == 123 and cjson.decode(text) or { w = text }
    if limit.i then
      text = stored[1] or '1'
      limit = string.byte(text) == 123 and cjson.decode(text) or { w = text }
    end
    sum = sum + (tonumber(limit.w) or 1)
  end
  return sum
end

-- Groups beyond those that were weighed count as the mean of these.
local function scaled(weight, weighed, all)
  return all > weighed and weight / weighed * all or weight
end

-- Nothing starts in a paused queue, so nothing in it is a reason to have units.
local function isPaused(base)
  return native('HEXISTS', base .. 'meta', 'paused') == 1
end

local function waitingInQueue(queue)
  local base = baseOf(queue)
  if isPaused(base) then
    return 0, 0
  end
  local ring = base .. 'fair:ring'
  local members, weight = native('ZRANGE', ring, '0', WEIGHED - 1), 0
  for _, member in ipairs(members) do
    local _, its = string.match(member, OF_MEMBER)
    weight = weight + its
  end
  if #members == 0 then
    -- What is set aside for its task may wait for the queue as well.
    local waiting = 0
    for _, count in ipairs(native('HVALS', base .. 'fair:at')) do
      waiting = waiting + count
    end
    return waiting, math.min(waiting, 1)
  end
  local n = native('HMGET', base .. 'fair:n', 'i', 'f', 'o', 'p')
  local waiting = (tonumber(n[1]) or 0) + (tonumber(n[2]) or 0) - (tonumber(n[3]) or 0) + (tonumber(n[4]) or 0)
  return math.max(waiting, #members), scaled(weight, #members, native('ZCARD', ring))
end

local function waitingOfTask(task)
  local waiting, weight = 0, 0
  for _, queue in ipairs(native('SMEMBERS', prefix .. ':fair:aside:' .. task)) do
    local base = baseOf(queue)
    local list = base .. 'fair:as::' .. task
    local groups = native('ZRANGE', list, '0', WEIGHED - 1)
    if #groups > 0 and not isPaused(base) then
      waiting = waiting + (tonumber(native('HGET', base .. 'fair:at', task)) or 0)
      weight = weight + scaled(weightOf(groups), #groups, native('ZCARD', list))
    end
  end
  return waiting, weight
end

local function stateOf(field)
  local kind, name = string.match(field, '^([qt]):(.*)$')
  if not kind then
    return nil
  end
  local gate = gates().readGate(prefix, kind .. ':', name)
  local state = { kind = kind, name = name, m = gate.m, e = gate.e, b = gate.b, a = gate.a }
  state.tokens, state.surplus = gates().tokensOf(gate), surplus[field] or 0
  if kind == 'q' then
    state.run, state.waiting, state.weight = native('LLEN', baseOf(name) .. 'active'), waitingInQueue(name)
  else
    state.run, state.waiting, state.weight = gates().runningOf(prefix, name), waitingOfTask(name)
  end
  return state
end

for _, change in ipairs(changes) do
  apply(change)
end
if fence > 0 then
  native('HSET', KEYS[1], 'fence', fence)
end
local states = {}
for _, field in ipairs(native('HKEYS', KEYS[1])) do
  states[#states + 1] = stateOf(field)
end
return #states == 0 and '[]' or cjson.encode(states)
