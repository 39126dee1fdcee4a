--[[
  complete: a lean moveToFinished for the plain case: completed, no parent, no children, no deduplication key, no metrics,
  kept for good or removed at once, in a queue without a global rate and with no delayed job due. It takes several jobs
  of one worker that ended in one turn of its event loop: what each call of a script costs, in the server and in the
  client, is a third of the whole.

  For everything else it answers -200 (for the queue), -201 (for the job) or -202 (for jobs that are due), and the caller
  runs BullMQ's own script; nothing has been written then: not for the job, or for none of them. Where jobs cost
  more than usual it takes some of them and answers -203 for the others, which are to be sent again.

  All conditions of a job are read before anything of it is written. Effects, events, return codes and their order are
  those of BullMQ's script run for each, first up to the finish and then for the next jobs; the event stream is trimmed by
  the XADD instead of by an XTRIM of its own. `hasChildren` is a field that virtual/call.lua sets on every job that ever got a
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
  'fair:stalled', 'fair:gates', 'fair:aside', 'fair:unsettled')
unsettled = meta[10]
-- With a stream kept at length 0, trimming by the XADD would take the event itself.
if meta[3] or not meta[4] or meta[4] == '0' then
  return -200
end
local groupsDue = meta[5] and not meta[1] and times().isDue(meta[5])
-- No call is to keep the server for long. Groups that come back cost it more than jobs do, and where so many wait, what a job
-- has is in nobody's cache.
local most = groupsDue and 4 or native('ZCARD', base .. 'fair:ring') > 100000 and 8 or #ARGV
local last = math.min(#ARGV, 3 + 5 * most) -- of ARGV, what is looked at
local delayed = meta[6] and times().nextDelayedOf(base)
if delayed and times().isDelayedDue(delayed, timestamp) then
  return -202
end

-- Jobs go by the place of their id in ARGV: a table for each would cost more than what several of them share.
local found, replies = {}, {} -- what the hash of each has, see readJobs(); what is answered: 0, a code, or a next job
local ATM, SLOT, FK, CXL, GATE = 5, 6, 7, 8, 9

-- Reads the hashes of all jobs; returns their locks and what those are.
local function readJobs()
  local locks = {}
  for i = 4, last, 5 do
    local key = base .. ARGV[i]
    local job = native('HMGET', key, 'timestamp', 'parentKey', 'deid', 'hasChildren', 'atm', 'slot', 'fk', 'cxl', 'gate')
    if not job[1] or job[2] or job[3] or job[4] then
      replies[i] = -201
    end
    found[i], locks[#locks + 1] = job, key .. ':lock'
  end
  return locks, native('MGET', unpack(locks))
end

-- Takes a job off the active list; returns a code when it can not end.
local function leave(jobId, token, lock, holder)
  if holder ~= token then
    return holder and -6 or -2
  end
  if meta[7] and native('SREM', base .. 'stalled', jobId) == 0 and native('EXISTS', base .. 'stalled') == 0 then
    native('HDEL', base .. 'meta', 'fair:stalled')
  end
  if native('LREM', activeKey, '-1', jobId) < 1 then
    native('DEL', lock)
    return -3
  end
end

-- The ids of those of some jobs that have `field`, with where each of the jobs is among them.
local function idsWith(field, jobs)
  local ids, places = {}, {}
  for n = 1, #jobs do
    if found[jobs[n]][field] then
      ids[#ids + 1] = ARGV[jobs[n]]
      places[jobs[n]] = #ids
    end
  end
  return ids, places
end

-- Gives back the key of a job, as keys().releaseKey does, which costs more to build than this.
local function releaseKey(job, jobId, someWait)
  native('SREM', base .. 'fair:kh::' .. job[FK], jobId)
  if someWait and native('EXISTS', base .. 'fair:kw::' .. job[FK]) == 1 then
    keys().admitNext(base, job[FK])
  end
end

-- Gives back what the jobs that end have held of limits; they are not to be stopped any more. Which jobs did is taken from the
-- books for all at once; who may run by that enters the ring in the order of the jobs, as if they had ended one by one.
local function release(jobs)
  local withSlot, ofSlot = idsWith(SLOT, jobs)
  local withKey, ofKey = idsWith(FK, jobs)
  local hadSlot = withSlot[1] and limits().takeSlots(base, withSlot)
  local hadKey = withKey[1] and takeFields(base .. 'fair:kj', withKey)
  local someWait = hadKey and native('EXISTS', base .. 'fair:bk') == 1
  for n = 1, #jobs do
    local i = jobs[n]
    local job = found[i]
    if ofSlot[i] and hadSlot[ofSlot[i]] then
      limits().vacateSlot(base, job[SLOT])
    end
    if job[GATE] then
      gates().release(base, ARGV[i], job[GATE])
    end
    if job[CXL] then
      native('ZREM', base .. 'fair:cancels', ARGV[i])
    end
    if ofKey[i] and hadKey[ofKey[i]] then
      releaseKey(job, ARGV[i], someWait)
    end
  end
end

-- Removes the jobs that are not kept, and all their locks, and tells of them.
local function record(jobs)
  local gone = {}
  for n = 1, #jobs do
    local i = jobs[n]
    local job, jobId, returnValue = found[i], ARGV[i], ARGV[i + 1]
    local key = base .. jobId
    gone[#gone + 1] = key .. ':lock'
    if ARGV[i + 3] == '0' then
      gone[#gone + 1], gone[#gone + 2] = key, key .. ':logs'
    else
      if job[SLOT] or job[FK] or job[CXL] or job[GATE] then
        native('HDEL', key, 'slot', 'fk', 'cxl', 'gate')
      end
      native('HSET', key, 'returnvalue', returnValue, 'finishedOn', timestamp,
        'atm', string.format('%d', (job[ATM] or 0) + 1))
      native('ZADD', base .. 'completed', timestamp, jobId)
    end
    native('XADD', eventsKey, 'MAXLEN', '~', meta[4], '*', 'event', 'completed', 'jobId', jobId,
      'returnvalue', returnValue, 'prev', 'active')
  end
  native('DEL', unpack(gone))
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

local locks, holders = readJobs()
local ended, fetching = {}, 0
for i = 4, last, 5 do
  local n = (i + 1) / 5
  replies[i] = replies[i] or leave(ARGV[i], ARGV[i + 2], locks[n], holders[n])
  if not replies[i] then
    ended[#ended + 1] = i
    fetching = fetching + (ARGV[i + 4] == '1' and 1 or 0)
  end
end
if ended[1] then
  release(ended)
  record(ended)
end
local leaving = #ended - fetching
local ending = leaving -- with those that find nothing
if fetching > 0 then
  if groupsDue then
    parking().unpark(base, 4)
  end
  ahead = fetching
  local none = meta[1] and { 0, 0, 0, 0 }
  for n = 1, #ended do
    local i = ended[n]
    if ARGV[i + 4] == '1' then
      local next = not none and fetch(ARGV[i + 2])
      none = none or not next and nothing()
      replies[i] = next or none
      ending = ending + (replies[i] == 0 and 1 or 0)
    end
  end
  commitClaims(base)
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
local all = {}
for i = 4, #ARGV, 5 do
  all[#all + 1] = i > last and -203 or replies[i] or 0
end
return all
