--[[
  failCancelled: records an active job as failed that was asked to stop and whose grace is over, whatever its worker does.

  Takes the job's lock, so that the worker can record nothing any more, and lets BullMQ's own moveToFinished, which
  follows, fail it, with the reason that was given when it was asked. A job that came back to wait meanwhile is taken from
  there, and needs no grace.

  KEYS and ARGV are those of moveToFinished. Returns what moveToFinished returns, or -100 when the job is not to be
  cancelled (any more, or not yet), and then it was not touched.
]]
local NOT_CANCELLED = -100
local base, jobId, time = ARGV[7], ARGV[1], native('TIME')
local due = tonumber(native('ZSCORE', base .. 'fair:cancels', jobId) or nil)
local isOver = due and due <= time[1] * 1000 + time[2] / 1000
local job = native('HMGET', base .. jobId, 'opts', 'cxl')
if not due or not job[2] or not isOver and native('EXISTS', base .. jobId .. ':lock') == 1 then
  return NOT_CANCELLED
end
native('ZREM', base .. 'fair:cancels', jobId)
if job[2] ~= '' then
  ARGV[4] = job[2]
end
if not native('LPOS', KEYS[2], jobId) then
  local group = groupOfOptions(job[1]) or ''
  if not takeDelayed(base, group, jobId) and not take(base, group, jobId) then
    return NOT_CANCELLED
  end
  native('LPUSH', KEYS[2], jobId)
  native('HINCRBY', base .. jobId, 'atm', '-1')
end
native('SET', base .. jobId .. ':lock', cmsgpack.unpack(ARGV[8])['token'])
