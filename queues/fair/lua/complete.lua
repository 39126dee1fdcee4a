--[[
  complete: a lean moveToFinished for the plain case: completed, no parent, no children, no deduplication key, no metrics,
  kept for good or removed at once, in a queue without a global rate and with no delayed job due. For everything else
  it returns -200 (for the queue), -201 (for the job) or -202 (for jobs that are due), and the caller runs BullMQ's own
  script; nothing has been written then.

  All conditions are read before anything is written. Effects, events, return codes and their order are
  BullMQ's; the event stream is trimmed by the XADD instead of by an XTRIM of its own. `hasChildren` is a field that
  virtual.lua sets on every job that ever got a child. The set `stalled` is looked at while it may have members.

  KEYS[1] <base>; the others are made of it, since sending 14 costs the client more than making them costs here
  ARGV[1] job id   ARGV[2] now, ms   ARGV[3] return value, JSON   ARGV[4] token   ARGV[5] 0 to remove the job, -1 to keep it
  ARGV[6] 1 to fetch the next job   ARGV[7] ms its lock lasts   ARGV[8] the worker's name, or ''
  The reply is that of moveToFinished.
  Cost: 7 calls for the finish, 9 if the job is kept, plus the claim of the next job.
]]
local base, jobId, timestamp, token = KEYS[1], ARGV[1], ARGV[2], ARGV[4]
local activeKey, eventsKey, jobKey = base .. 'active', base .. 'events', base .. jobId
local meta = native('HMGET', base .. 'meta', 'paused', 'concurrency', 'max', 'opts.maxLenEvents', 'fair:due', 'fair:delayed',
  'fair:stalled', 'fair:gates', 'fair:aside')
-- With a stream kept at length 0, trimming by the XADD would take the event itself.
if meta[3] or not meta[4] or meta[4] == '0' then
  return -200
end
local job = native('HMGET', jobKey, 'timestamp', 'parentKey', 'deid', 'hasChildren', 'atm', 'slot', 'fk', 'cxl', 'gate')
if not job[1] or job[2] or job[3] or job[4] then
  return -201
end
local delayed = meta[6] and times().nextDelayedOf(base)
if delayed and times().isDelayedDue(delayed, timestamp) then
  return -202
end

local lockKey = jobKey .. ':lock'
local holder = native('GET', lockKey)
if holder ~= token then
  return holder and -6 or -2
end
if meta[7] and native('SREM', base .. 'stalled', jobId) == 0 and native('EXISTS', base .. 'stalled') == 0 then
  native('HDEL', base .. 'meta', 'fair:stalled')
end
if native('LREM', activeKey, '-1', jobId) < 1 then
  native('DEL', lockKey)
  return -3
end
if job[6] then
  limits().release(base, jobId, job[6])
end
if job[9] then
  gates().release(base, jobId, job[9])
end
-- As keys().releaseKey, which costs more to build than this.
if job[7] and native('HDEL', base .. 'fair:kj', jobId) == 1 then
  native('SREM', base .. 'fair:kh::' .. job[7], jobId)
  if job[8] then
    native('ZREM', base .. 'fair:cancels', jobId)
  end
  if native('EXISTS', base .. 'fair:kw::' .. job[7]) == 1 then
    keys().admitNext(base, job[7])
  end
end
if ARGV[5] == '0' then
  native('DEL', lockKey, jobKey, jobKey .. ':logs')
else
  native('DEL', lockKey)
  if job[6] or job[7] or job[9] then
    native('HDEL', jobKey, 'slot', 'fk', 'cxl', 'gate')
  end
  native('HSET', jobKey, 'returnvalue', ARGV[3], 'finishedOn', timestamp,
    'atm', string.format('%d', (job[5] or 0) + 1))
  native('ZADD', base .. 'completed', timestamp, jobId)
end
native('XADD', eventsKey, 'MAXLEN', '~', meta[4], '*', 'event', 'completed', 'jobId', jobId, 'returnvalue', ARGV[3],
  'prev', 'active')

if ARGV[6] == '1' then
  if meta[1] then
    return { 0, 0, 0, 0 }
  end
  if meta[5] and times().isDue(meta[5]) then
    parking().unpark(base)
  end
  local gated, next, taken
  if meta[2] or meta[8] or meta[9] then
    gated = gates().open(base, meta[8], meta[9], meta[2])
  end
  if gated ~= false then
    next, taken = claimNext(base, timestamp, ARGV[8], token, ARGV[7], gated)
  end
  if next then
    -- Whoever takes the marker claims and sets it again. Only one that dies in between leaves none while work waits,
    -- so once in a while is enough here.
    if taken and taken % 16 == 0 then
      native('ZADD', base .. 'marker', '0', '0')
    end
    return next
  end
  local due = times().nextStart(base, timestamp, delayed)
  if due then
    return { 0, 0, 0, due }
  end
elseif (meta[2] or meta[8] and string.find(meta[8], '"q":', 1, true)) and not meta[1]
  and native('EXISTS', base .. 'fair:idx') == 1 then
  -- What kept others from starting may be over.
  native('ZADD', base .. 'marker', '0', '0')
end
if native('EXISTS', base .. 'fair:idx', base .. 'fair:bk') == 0 and native('EXISTS', activeKey) == 0 then
  native('XADD', eventsKey, '*', 'event', 'drained')
end
return 0
