--[[
  deduplicate: looks whether another job stands for one that is about to be added in the same transaction, and changes that.

  BullMQ's deduplication key, set by the add that follows and given back by its scripts at a job's end or removal, says
  which job has an id. BullMQ itself knows no modes that change a job where it waits.

  KEYS[1] <base>   KEYS[2] marks of the transaction, see leave-out.lua
  KEYS[3] window: STRING, the job that was added last for the id, for `windowMs`
  ARGV the new job's id   deduplication id   mode   name   data: JSON, of `accumulate` the payload alone
    delayMs, of `debounce` from now to the start   windowMs, 0 for none   most bytes of collected payloads
    '1' when there is room for a new job

  `first`: any job of the id that has not ended stands, and within the window also one that has completed or failed; what was
  cancelled or has expired stands for nothing. `last`, `debounce`, `accumulate`: one that has not started, `last` only within
  the window if there is one.

  Returns '' when the job is to be added, or all of the transaction is left out. Else it is marked, with the id of the job
  that stands for it or with why there is none, which is also returned: `!full`, `!task` (the job that stands is of another
  task), `!mode` (it collects nothing), `!large` (it would hold more than it may).
  Cost: 4 to 7 calls; a job that waited and is put off costs what its removal does.
]]
local base, marks, windowKey = KEYS[1], KEYS[2], KEYS[3]
local id, dedupeId, mode, name, data, delayMs, windowMs, mostBytes, hasRoom = unpack(ARGV)
-- As envelopes of `accumulate` are written, see prepare.ts; inside a JSON string the quotes would be escaped.
local HEAD, BEFORE_PAYLOAD, PAYLOADS, TAIL = '{"collects":true,', ',"payload":', '{"payloads":[', ']}}'

-- The request was here before: what it changed then must not change again.
if native('HEXISTS', marks, '*') == 1 then
  return ''
end

local deKey = base .. 'de:' .. dedupeId
local holder = native('GET', deKey)

-- Whether a job has ended without doing its work, or will: superseded, cancelled, expired; reasons as in failure.ts.
local function isGivenUp(superseded, finishedOn, reason)
  return superseded
    or finishedOn and reason and (string.find(reason, '^{"code":"cancelled"') or string.find(reason, '^{"code":"expired"'))
end

local function findStanding()
  local job = holder and native('HMGET', base .. holder, 'name', 'processedOn', 'finishedOn', 'sup')
  local isOpen = job and job[1] and not job[3] and not job[4] and not isSuperseded(base, holder)
  if mode == 'first' then
    if isOpen then
      return holder, job[1]
    end
    local recent = windowMs ~= '0' and native('GET', windowKey)
    local ended = recent and native('HMGET', base .. recent, 'name', 'sup', 'finishedOn', 'failedReason')
    return ended and ended[1] and not isGivenUp(ended[2], ended[3], ended[4]) and recent
  end
  local mayChange = isOpen and not job[2]
  if mayChange and (mode ~= 'last' or windowMs == '0' or native('GET', windowKey) == holder) then
    return holder, job[1]
  end
end

local function announce(...)
  local most = native('HGET', base .. 'meta', 'opts.maxLenEvents') or 10000
  native('XADD', base .. 'events', 'MAXLEN', '~', most, '*', 'event', ...)
end

-- Lets a job that has not started wait for `delayMs` from now; false when it is nowhere. Its options say so as well, since
-- they alone tell later when it was due: BullMQ takes the job's own field back to 0.
local function postpone(jobId)
  local delayed = base .. 'delayed'
  local isThere = native('ZSCORE', delayed, jobId)
    or redis.call('LREM', base .. 'wait', 0, jobId) == 1
    or redis.call('ZREM', base .. 'prioritized', jobId) == 1
  if not isThere then
    return false
  end
  local time = native('TIME')
  local due = time[1] * 1000 + math.floor(time[2] / 1000) + delayMs
  redis.call('ZADD', delayed, string.format('%.0f', due * 0x1000), jobId)
  local job = native('HMGET', base .. jobId, 'timestamp', 'opts')
  native('HSET', base .. jobId, 'delay', string.format('%.0f', due - job[1]))
  if job[2] then
    local options = cjson.decode(job[2])
    options['delay'] = due - job[1]
    native('HSET', base .. jobId, 'opts', cjson.encode(options))
  end
  announce('delayed', 'jobId', jobId, 'delay', string.format('%.0f', due))
  local nextDue = redis.call('ZRANGE', delayed, '0', '0', 'WITHSCORES')[2]
  native('ZADD', base .. 'marker', string.format('%.0f', math.floor(nextDue / 0x1000)), '1')
  return true
end

-- Adds a payload to those of a job; returns why it could not.
local function collect(jobId)
  local held = native('HGET', base .. jobId, 'data')
  local from = string.sub(held, 1, #HEAD) == HEAD and string.find(held, BEFORE_PAYLOAD .. PAYLOADS, 1, true)
  if not from then
    return '!mode'
  end
  -- From the payload's first byte to the envelope's last but one, and a comma.
  local bytes = #held - from - #BEFORE_PAYLOAD + 1 + #data
  if bytes > tonumber(mostBytes) then
    return '!large'
  end
  native('HSET', base .. jobId, 'data', string.sub(held, 1, -1 - #TAIL) .. ',' .. data .. TAIL)
end

-- Changes the job that stands; returns why it could not, or false for one that was lost.
local function change(jobId, task)
  if mode == 'first' then
    return nil
  elseif task ~= name then
    return '!task'
  elseif mode == 'accumulate' then
    return collect(jobId)
  elseif mode == 'debounce' and not postpone(jobId) then
    return false
  end
  native('HSET', base .. jobId, 'data', data)
end

local standing, task = findStanding()
local refusal = standing and change(standing, task)
if standing and refusal ~= false then
  if not refusal then
    announce('deduplicated', 'jobId', standing, 'deduplicationId', dedupeId, 'deduplicatedJobId', id)
  end
  native('HSET', marks, id, refusal or standing)
  return refusal or standing
end
if hasRoom ~= '1' then
  native('HSET', marks, id, '!full')
  return '!full'
end
if holder then
  native('DEL', deKey)
end
if windowMs ~= '0' then
  native('SET', windowKey, id, 'PX', windowMs)
end
return ''
