--[[
  failCancelled: records an active job as failed whose grace is over, whatever its worker does.

  Takes the job's lock, so that the worker can record nothing any more, and lets BullMQ's own moveToFinished, which
  follows, fail it. A job that came back to wait meanwhile is taken from there.

  KEYS and ARGV are those of moveToFinished. Returns what moveToFinished returns, or -100 when the job is not to be
  cancelled (any more, or not yet), and then it was not touched.
]]
local NOT_CANCELLED = -100
local base, jobId, time = ARGV[7], ARGV[1], native('TIME')
local due = tonumber(native('ZSCORE', base .. 'fair:cancels', jobId) or nil)
if not due or due > time[1] * 1000 + time[2] / 1000 then
  return NOT_CANCELLED
end
native('ZREM', base .. 'fair:cancels', jobId)
if not native('LPOS', KEYS[2], jobId) then
  local group = groupOfOptions(native('HGET', base .. jobId, 'opts')) or ''
  if not takeDelayed(base, group, jobId) and not take(base, group, jobId) then
    return NOT_CANCELLED
  end
  native('LPUSH', KEYS[2], jobId)
  native('HINCRBY', base .. jobId, 'atm', '-1')
end
native('SET', base .. jobId .. ':lock', cmsgpack.unpack(ARGV[8])['token'])
