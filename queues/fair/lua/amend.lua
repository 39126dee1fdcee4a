--[[
  amend: changes a job where it waits or is delayed: its data, its priority, when it may run.

  With another priority it goes behind the others of that priority; inside its key it keeps its place. One that is put off
  before it ever started gives its key back, as if it had been enqueued with a delay.

  KEYS[1] <base>   ARGV[1] job id   ARGV[2] its options, JSON   ARGV[3] its priority, as BullMQ counts it
  ARGV[4] its data, or '' as it is   ARGV[5] when it may run, ms epoch, or '' as it is
  Returns 1, or 0 when the job neither waits nor is delayed, or is superseded; nothing has changed then.
  Cost: a few calls, and what it costs to take a job away and to put it back.
]]
local base, jobId, priority, due = KEYS[1], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[5])
local jobKey, delayed = base .. jobId, base .. 'delayed'
local job, time = native('HMGET', jobKey, 'name', 'priority', 'ats', 'timestamp'), native('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local isDelayed = native('ZSCORE', delayed, jobId)
local isPlainOne = not isDelayed and redis.call('LPOS', base .. 'wait', jobId)
local isThere = isDelayed or isPlainOne or redis.call('ZSCORE', base .. 'prioritized', jobId)
if not job[1] or not isThere or isSuperseded(base, jobId) then
  return 0
end

local function announce(...)
  local most = native('HGET', base .. 'meta', 'opts.maxLenEvents') or 10000
  native('XADD', base .. 'events', 'MAXLEN', '~', most, '*', 'event', ...)
end

local function takeWaiting()
  if isPlainOne then
    redis.call('LREM', base .. 'wait', 0, jobId)
  else
    redis.call('ZREM', base .. 'prioritized', jobId)
  end
end

local function queueUp()
  if priority == 0 then
    redis.call('LPUSH', base .. 'wait', jobId)
  else
    redis.call('ZADD', base .. 'prioritized', priority * 0x100000000 + native('INCR', base .. 'pc') % 0x100000000, jobId)
  end
  if native('HEXISTS', base .. 'meta', 'paused') == 0 then
    native('ZADD', base .. 'marker', 0, '0')
  end
end

-- BullMQ orders the jobs of a millisecond by the lower bits of the score.
local function delay()
  local score = due * 0x1000
  local last = tonumber(native('ZREVRANGEBYSCORE', delayed, score + 0xfff, score, 'WITHSCORES', 'LIMIT', 0, 1)[2])
  redis.call('ZADD', delayed, string.format('%.0f', last and math.min(last + 1, score + 0xfff) or score), jobId)
  native('HSET', jobKey, 'delay', string.format('%.0f', math.max(due - (tonumber(job[4]) or due), 0)))
  announce('delayed', 'jobId', jobId, 'delay', string.format('%.0f', due))
  local nextDue = redis.call('ZRANGE', delayed, '0', '0', 'WITHSCORES')[2]
  native('ZADD', base .. 'marker', string.format('%.0f', math.floor(nextDue / 0x1000)), '1')
end

if isDelayed and due and due <= now then
  redis.call('ZREM', delayed, jobId)
  native('HSET', jobKey, 'priority', priority, 'delay', 0)
  queueUp()
  announce('waiting', 'jobId', jobId, 'prev', 'delayed')
elseif isDelayed and due then
  redis.call('ZREM', delayed, jobId)
  delay()
elseif due and due > now then
  KEY_RULE = job[3] and 'keep' or 'remove'
  takeWaiting()
  delay()
elseif not isDelayed and priority ~= (tonumber(job[2]) or 0) then
  takeWaiting()
  queueUp()
end
native('HSET', jobKey, 'opts', ARGV[2], 'priority', priority)
if ARGV[4] ~= '' then
  native('HSET', jobKey, 'data', ARGV[4])
end
return 1
