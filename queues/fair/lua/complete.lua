--[[
  complete: a lean moveToFinished for the plain case: completed, no parent, no children, no deduplication key, no metrics,
  kept for good or removed at once, in a queue without a global rate and with no delayed job due. It takes several jobs
  of one worker that ended in one turn of its event loop: what each call of a script costs, in the server and in the
  client, is a third of the whole.

  For everything else it answers -200 (for the queue), -201 (for the job) or -202 (for jobs that are due), and the caller
  runs BullMQ's own script; nothing has been written then: not for the job, or for none of them.

  All conditions of a job are read before anything of it is written. Effects, events, return codes and their order are
  those of BullMQ's script run for each, first up to the finish and then for the next jobs; the event stream is trimmed by
  the XADD instead of by an XTRIM of its own. `hasChildren` is a field that virtual.lua sets on every job that ever got a
  child. The set `stalled` is looked at while it may have members.

  KEYS[1] <base>; the others are made of it, since sending 14 costs the client more than making them costs here
  ARGV[1] now, ms   ARGV[2] ms a lock lasts   ARGV[3] the worker's name, or ''; then five for each job:
    its id   return value, JSON   token   0 to remove it, -1 to keep it   1 to fetch a next one
  Returns for each job what moveToFinished does, or a code above; a single code when that goes for the queue.
  Cost: 1 call; 6 for each finish, 8 if the job is kept, plus the claim of the next one.
]]
local base, timestamp = KEYS[1], ARGV[1]
local activeKey, eventsKey = base .. 'active', base .. 'events'
local meta = native('HMGET', base .. 'meta', 'paused', 'concurrency', 'max', 'opts.maxLenEvents', 'fair:due', 'fair:delayed',
  'fair:stalled', 'fair:gates', 'fair:aside')
-- With a stream kept at length 0, trimming by the XADD would take the event itself.
if meta[3] or not meta[4] or meta[4] == '0' then
  return -200
end
local delayed = meta[6] and times().nextDelayedOf(base)
if delayed and times().isDelayedDue(delayed, timestamp) then
  return -202
end

-- Ends one job; returns a code when it can not.
local function finish(jobId, returnValue, token, keep)
  local jobKey = base .. jobId
  local job = native('HMGET', jobKey, 'timestamp', 'parentKey', 'deid', 'hasChildren', 'atm', 'slot', 'fk', 'cxl', 'gate')
  if not job[1] or job[2] or job[3] or job[4] then
    return -201
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
  if keep == '0' then
    native('DEL', lockKey, jobKey, jobKey .. ':logs')
  else
    native('DEL', lockKey)
    if job[6] or job[7] or job[9] then
      native('HDEL', jobKey, 'slot', 'fk', 'cxl', 'gate')
    end
    native('HSET', jobKey, 'returnvalue', returnValue, 'finishedOn', timestamp,
      'atm', string.format('%d', (job[5] or 0) + 1))
    native('ZADD', base .. 'completed', timestamp, jobId)
  end
  native('XADD', eventsKey, 'MAXLEN', '~', meta[4], '*', 'event', 'completed', 'jobId', jobId, 'returnvalue', returnValue,
    'prev', 'active')
end

local more -- whether others may run now

-- The next job for one that ended, if any may run now.
local function fetch(token)
  local gated, next
  if meta[2] or meta[8] or meta[9] then
    gated = gates().open(base, meta[8], meta[9], meta[2])
  end
  if gated ~= false then
    next, more = claimNext(base, timestamp, ARGV[3], token, ARGV[2], gated)
    -- Jobs may have been set aside just now, which others of theirs are not to overtake; or none is any more.
    meta[9] = gated and gated.aside and native('HGET', base .. 'meta', 'fair:aside')
  end
  return next
end

-- What those are told for which there is no job now.
local function nothing()
  local due = times().nextStart(base, timestamp, delayed)
  return due and { 0, 0, 0, due } or 0
end

local replies, fetching, leaving = {}, 0, 0
for i = 4, #ARGV, 5 do
  local code = finish(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
  replies[#replies + 1] = code or 0
  if not code and ARGV[i + 4] == '1' then
    fetching = fetching + 1
  elseif not code then
    leaving = leaving + 1
  end
end
local ending = leaving -- with those that find nothing
if fetching > 0 then
  if meta[5] and not meta[1] and times().isDue(meta[5]) then
    parking().unpark(base)
  end
  ahead = fetching
  local none = meta[1] and { 0, 0, 0, 0 }
  for n = 1, #replies do
    if replies[n] == 0 and ARGV[n * 5 + 3] == '1' then
      local next = not none and fetch(ARGV[n * 5 + 1])
      none = none or not next and nothing()
      replies[n] = next or none
      ending = ending + (replies[n] == 0 and 1 or 0)
    end
  end
  -- Whoever takes the marker claims and sets it again. Only one that dies in between leaves none while work waits,
  -- so once in a while is enough here.
  if more and remind then
    native('ZADD', base .. 'marker', '0', '0')
  end
end
if leaving > 0 and (meta[2] or meta[8] and string.find(meta[8], '"q":', 1, true)) and not meta[1]
  and native('EXISTS', base .. 'fair:idx') == 1 then
  -- What kept others from starting may be over.
  native('ZADD', base .. 'marker', '0', '0')
end
if ending > 0 and native('EXISTS', base .. 'fair:idx', base .. 'fair:bk') == 0 and native('EXISTS', activeKey) == 0 then
  native('XADD', eventsKey, '*', 'event', 'drained')
end
return replies
