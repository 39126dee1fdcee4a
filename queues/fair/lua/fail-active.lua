--[[
  failActive: records an active job as failed at once, whatever its worker does, and tells the worker to stop.

  Takes the job's lock, so that the worker can record nothing any more, and lets BullMQ's own moveToFinished, which
  follows, fail it.

  KEYS and ARGV are those of moveToFinished. Returns what moveToFinished returns, or -100 when the job is not active (any
  more), and then nothing was written.
]]
local NOT_ACTIVE = -100
local base, jobId = ARGV[7], ARGV[1]
if native('EXISTS', base .. jobId) == 0 or not native('LPOS', KEYS[2], jobId) then
  return NOT_ACTIVE
end
local prefix, queue = string.match(base, OF_QUEUE)
native('SET', base .. jobId .. ':lock', cmsgpack.unpack(ARGV[8])['token'])
native('PUBLISH', prefix .. 'cancel', cjson.encode({ queue, jobId, ARGV[4], 0 }))
