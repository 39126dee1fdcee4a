--[[
  cancel: asks an active job to stop; what a newer job of its key does to it by makeWay, see ring/place.lua.

  Workers are told on <prefix>:cancel, and from the end of its grace on the job is recorded as failed (dueCancels,
  failCancelled). Asked again, the shorter grace holds, and the first reason.

  KEYS[1] <base>fair:cancels   ARGV[1] <base>   ARGV[2] job id   ARGV[3] its grace, ms   ARGV[4] the reason of its failure
  Returns 1, or 0 when the job is not active; nothing has changed then.
  Cost: 6 calls, one of which looks through the active jobs of the queue.
]]
local base, jobId = ARGV[1], ARGV[2]
if native('EXISTS', base .. jobId) == 0 or not native('LPOS', base .. 'active', jobId) then
  return 0
end
local time = native('TIME')
local due = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
native('ZADD', KEYS[1], 'LT', due, jobId)
native('HSETNX', base .. jobId, 'cxl', ARGV[4])
local prefix, queue = string.match(base, '^(.*:)([^:]*):$')
native('PUBLISH', prefix .. 'cancel', cjson.encode({ queue, jobId, native('HGET', base .. jobId, 'cxl'), tonumber(ARGV[3]) }))
return 1
