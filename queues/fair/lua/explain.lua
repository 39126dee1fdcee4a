--[[
  explain: what decides about a waiting job, for somebody who asks why it does not run.

  KEYS[1] <base>fair:idx   ARGV[1] <base>   ARGV[2] group   ARGV[3] job id
  Returns JSON, times in ms of Redis' clock: { now, place (jobs of the group before it, blocked ones not counted), blocked
  (jobs of its key before it among the blocked, if it is one), holders, groupsAhead (in the ring, if the group is there),
  pausedUntil (-1 without end), gates: [{ run, max, due }] of the group and of the group in this queue, queuePaused,
  concurrency, active }. Nothing is written. Cost: about 12 calls, whatever the number of jobs and groups.
]]
local base, group, jobId = ARGV[1], ARGV[2], ARGV[3]
local time = native('TIME')
local answer = { now = time[1] * 1000 + math.floor(time[2] / 1000), gates = {} }

local place, name = keys().entryOf(base, jobId)
if place and place ~= 'h' then
  answer.blocked = native('ZRANK', base .. 'fair:kw::' .. name, jobId) or nil
  answer.holders = native('SMEMBERS', base .. 'fair:kh::' .. name)
  answer.place = native('ZCOUNT', base .. QUEUE .. group, '-inf', '(' .. place)
else
  answer.place = native('ZRANK', base .. QUEUE .. group, jobId) or nil
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

local meta = native('HMGET', base .. 'meta', 'paused', 'concurrency')
answer.queuePaused = meta[1] and true or false
answer.concurrency = tonumber(meta[2] or nil)
answer.active = native('LLEN', base .. 'active')
return cjson.encode(answer)
