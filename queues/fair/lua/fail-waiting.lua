--[[
  failWaiting: records a job that has not started as failed, at once and without a worker.

  Takes the job out of where it waits, then lets BullMQ's own moveToFinished, which follows, fail it as if it had
  been active under the caller's token: parents, events, metrics and deduplication follow the same rules as for
  any failure. The attempt that never was is taken back beforehand.

  A job that lost its options is found where it waits. One whose hash is gone stays there: nothing could be recorded of it,
  and whoever picks it sees that.

  KEYS and ARGV are those of moveToFinished; with a further one, 'unstarted', a job is left alone that has started before.
  Returns what moveToFinished returns, or -100 when the job is not waiting (any more), and then nothing was written.
]]
local NOT_WAITING = -100
local base, jobId = ARGV[7], ARGV[1]
local isWanted = ARGV[#ARGV] ~= 'unstarted' or native('HEXISTS', base .. jobId, 'processedOn') == 0
local found = isWanted and native('EXISTS', base .. jobId) == 1
  and (redis.call('ZREM', base .. 'delayed', jobId) == 1
    or native('ZREM', base .. 'waiting-children', jobId) == 1
    or redis.call('LREM', base .. 'wait', 0, jobId) == 1
    or redis.call('ZREM', base .. 'prioritized', jobId) == 1
    or (native('HDEL', base .. jobId, 'sup') == 1 and native('ZREM', base .. 'fair:superseded', jobId) == 1))
if not found then
  return NOT_WAITING
end
native('LPUSH', KEYS[2], jobId)
native('SET', base .. jobId .. ':lock', cmsgpack.unpack(ARGV[8])['token'])
native('HINCRBY', base .. jobId, 'atm', '-1')
