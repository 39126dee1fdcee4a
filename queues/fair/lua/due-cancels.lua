--[[
  dueCancels: which jobs of a queue newer ones of their key, or somebody, have put an end to, and nobody has recorded that yet.

  KEYS[1] <base>fair:superseded   KEYS[2] <base>fair:cancels   KEYS[3] <base>fair:ks
  ARGV[1] <base>   ARGV[2] at most so many of each
  Returns { jobs that never started, jobs that were asked to stop and whose grace is over, 1 when more of the first kind are
  still to be taken off (supersede.lua) }. What has no worker any more, having been handed back, needs no grace. Jobs that are
  gone are forgotten, also when another one has their id by now: it has no mark.

  Cost: 4 calls, and one for each job found; one more for each of those asked to stop.
]]
local time = native('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local unstarted, overdue = {}, {}
for _, jobId in ipairs(native('ZRANGE', KEYS[1], '0', ARGV[2] - 1)) do
  if native('HEXISTS', ARGV[1] .. jobId, 'sup') == 1 then
    unstarted[#unstarted + 1] = jobId
  else
    native('ZREM', KEYS[1], jobId)
  end
end
local asked = native('ZRANGE', KEYS[2], '0', ARGV[2] - 1, 'WITHSCORES')
for i = 1, #asked, 2 do
  local jobId = asked[i]
  if native('HEXISTS', ARGV[1] .. jobId, 'cxl') == 0 then
    native('ZREM', KEYS[2], jobId)
  elseif tonumber(asked[i + 1]) <= now or native('EXISTS', ARGV[1] .. jobId .. ':lock') == 0 then
    overdue[#overdue + 1] = jobId
  end
end
return { unstarted, overdue, native('EXISTS', KEYS[3]) }
