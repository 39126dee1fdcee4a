--[[
  explain: what decides about a waiting job, for somebody who asks why it does not run.

  KEYS[1] <base>fair:idx   ARGV[1] <base>   ARGV[2] group   ARGV[3] job id
  Returns JSON, times in ms of Redis' clock: { now, place (jobs of the group before it, blocked ones not counted), blocked
  (jobs of its key before it among the blocked, if it is one), holders, groupsAhead (in the ring, if the group is there),
  pausedUntil (-1 without end), gates: [{ run, max, due }] of the group and of the group in this queue, queuePaused,
  concurrency, active, queueGate, taskGate: { task, run, max, due } of the whole queue and of the job's task, where they are
  closed }. Nothing is written, but a debt of a rate that the limits of now could not have made is cut, as by whoever looks
  at the group; see useOf in ring/limits.lua. Cost: about 18 calls, whatever the number of jobs and groups.
]]
local base, group, jobId = ARGV[1], ARGV[2], ARGV[3]
local time = native('TIME')
local answer = { now = time[1] * 1000 + math.floor(time[2] / 1000), gates = {} }

local place, name = keys().entryOf(base, jobId)
if place and place ~= 'h' then
  answer.blocked = keys().countBefore(base, name, jobId) or nil
  answer.holders = native('SMEMBERS', base .. 'fair:kh::' .. name)
  answer.place = native('ZCOUNT', base .. QUEUE .. group, '-inf', '(' .. place)
else
  local aside = native('HGET', base .. 'fair:aj', jobId) or group
  answer.place = native('ZRANK', base .. QUEUE .. aside, jobId) or nil
end

local member = native('HGET', base .. 'fair:idx', group)
if member and member ~= '' then
  answer.groupsAhead = native('ZRANK', base .. 'fair:ring', member) or nil
end

local use = limits().useOf(base, group)
if use.pausedUntil then
  answer.pausedUntil = use.pausedUntil < 0 and -1 or math.ceil(use.pausedUntil / 1000)
end
for i = 1, 2 do
  local gate = use[i]
  answer.gates[i] = {
    run = gate.run, max = gate.max, due = gate.every and math.ceil((gate.tat - gate.ahead) / 1000) or nil,
  }
end

local meta = native('HMGET', base .. 'meta', 'paused', 'concurrency', 'fair:gates')
answer.queuePaused = meta[1] and true or false
answer.concurrency = tonumber(meta[2] or nil)
answer.active = native('LLEN', base .. 'active')
local function closed(kind, name, run)
  local prefix = string.match(base, OF_QUEUE)
  local gate = gates().readGate(prefix, kind, name)
  local due = gate and gates().dueAt(gate, run)
  return due and { run = run, max = gate.m, due = due < HELD and math.ceil(due / 1000) or nil } or nil
end
if meta[3] then
  local marks, queue = cjson.decode(meta[3]), select(2, string.match(base, OF_QUEUE))
  answer.queueGate = marks.q and closed('q:', queue, answer.active)
  local task = native('HGET', base .. jobId, 'name')
  if task and marks.t[task] then
    answer.taskGate = closed('t:', task, gates().runningOf(string.match(base, OF_QUEUE), task))
    if answer.taskGate then
      answer.taskGate.task = task
    end
  end
end
return cjson.encode(answer)
