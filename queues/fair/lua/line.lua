--[[
  line: who waits in a queue, at a glance.

  KEYS[1] <base>fair:ring   KEYS[2] <base>fair:park   ARGV[1] <base>   ARGV[2] sample, from 1
  Returns { groups whose next job may run, groups that are held back (each task that holds jobs counts once more for a
  group), age in ms of the oldest among the next jobs of some groups, -1 when there is none }. A job's age counts from
  when it was due. The groups are those served next, those with the highest tags, which are behind by the most, and those
  of `park` that are due first, of each as many as the sample says: where there are more, the age is a lower bound.
  Nothing is written. Cost: at most 6 calls and 6 for each of the sample, whatever the number of jobs and groups.
]]
local base = ARGV[1]
local EACH = tonumber(ARGV[2])
local LAST = tostring(EACH - 1)
local time = native('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest

-- The option says it for good; the job's own field is 0 as soon as it is due.
local function delayOf(options)
  local delay = options and string.find(options, '"delay"', 1, true) and cjson.decode(options)['delay']
  return type(delay) == 'number' and delay or 0
end

local function look(group)
  local jobId = native('ZRANGE', base .. QUEUE .. group, '0', '0')[1]
  local job = jobId and native('HMGET', base .. jobId, 'timestamp', 'opts')
  local createdAt = job and tonumber(job[1])
  local due = createdAt and createdAt + delayOf(job[2])
  if due and (not oldest or due < oldest) then
    oldest = due
  end
end

local function lookAtMembers(members)
  for _, member in ipairs(members) do
    look(select(5, string.match(member, OF_MEMBER)))
  end
end

local runnable = native('ZCARD', KEYS[1])
lookAtMembers(native('ZRANGE', KEYS[1], '0', LAST))
if runnable > EACH then
  lookAtMembers(native('ZRANGE', KEYS[1], tostring(-EACH), '-1'))
end
for _, group in ipairs(native('ZRANGE', KEYS[2], '0', LAST)) do
  look(group)
end
return { runnable, native('ZCARD', KEYS[2]), oldest and math.max(now - oldest, 0) or -1 }
