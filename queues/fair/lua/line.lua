--[[
  line: who waits in a queue, at a glance.

  KEYS[1] <base>fair:ring   KEYS[2] <base>fair:park   ARGV[1] <base>
  Returns { groups whose next job may run, groups that are held back (each task that holds jobs counts once more for a
  group), age in ms of the oldest among the next jobs of up to 64 of the former and 64 of the latter, -1 when there is none }.
  A job's age counts from when it was due. Nothing is written. Cost: at most 260 calls, whatever the number of jobs and groups.
]]
local base = ARGV[1]
local SAMPLE = '63'
local time = native('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest

local function look(group)
  local jobId = native('ZRANGE', base .. QUEUE .. group, '0', '0')[1]
  local job = jobId and native('HMGET', base .. jobId, 'timestamp', 'delay')
  local due = job and tonumber(job[1]) and tonumber(job[1]) + (tonumber(job[2]) or 0)
  if due and (not oldest or due < oldest) then
    oldest = due
  end
end

for _, member in ipairs(native('ZRANGE', KEYS[1], '0', SAMPLE)) do
  look(select(5, string.match(member, OF_MEMBER)))
end
for _, group in ipairs(native('ZRANGE', KEYS[2], '0', SAMPLE)) do
  look(group)
end
return { native('ZCARD', KEYS[1]), native('ZCARD', KEYS[2]), oldest and math.max(now - oldest, 0) or -1 }
