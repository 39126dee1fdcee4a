-- The virtual wait list, see waiting.lua: what leaves the active list gives back what it held.

-- The list itself is BullMQ's. Whatever takes a job off it gives its slot back.
local active = setmetatable({}, {
  __index = function(_, command)
    return function(_, ...)
      return native(command, ...)
    end
  end,
})

local function releaseSlot(base, jobId)
  if KEY_RULE ~= 'keep' then
    releaseKeyOf(base, jobId)
  end
  local job = native('HMGET', base .. jobId, 'slot', 'gate', 'name', 'cxl')
  local isLost = not job[3]
  if job[4] and KEY_RULE ~= 'keep' then
    native('ZREM', base .. 'fair:cancels', jobId)
    native('HDEL', base .. jobId, 'cxl')
  end
  if job[1] or isLost then
    limits().release(base, jobId, job[1])
  end
  if job[2] then
    gates().release(base, jobId, job[2])
  elseif isLost then
    gates().releaseLost(base, jobId)
  end
  if job[1] or job[2] then
    native('HDEL', base .. jobId, 'slot', 'gate')
  end
end

-- BullMQ tells nobody of a slot that comes free under a global concurrency, and knows of no gate.
local function announceSlot(base)
  local meta = native('HMGET', base .. 'meta', 'concurrency', 'paused', 'fair:gates')
  local isLimited = meta[1] or meta[3] and string.find(meta[3], '"q":', 1, true)
  if isLimited and not meta[2] and native('EXISTS', base .. 'fair:idx') == 1 then
    native('ZADD', base .. 'marker', 0, '0')
  end
end

function active.LREM(base, key, count, jobId)
  local removed = native('LREM', key, count, jobId)
  if removed > 0 then
    announceSlot(base)
  end
  if jobId == '' then
    for _, id in ipairs(doomed[key] or {}) do
      releaseSlot(base, id)
    end
    doomed[key] = nil
  elseif removed > 0 then
    releaseSlot(base, jobId)
  end
  return removed
end
function active.LSET(_, key, index, value)
  doomed[key] = doomed[key] or {}
  table.insert(doomed[key], native('LINDEX', key, index))
  return native('LSET', key, index, value)
end
function active.LTRIM(base, key, from, to)
  if tonumber(to) ~= -1 then
    error('LTRIM is only served as a cut at the head of ' .. key)
  end
  local cut = tonumber(from) > 0 and native('LRANGE', key, '0', from - 1) or {}
  local reply = native('LTRIM', key, from, to)
  for _, id in ipairs(cut) do
    releaseSlot(base, id)
  end
  return reply
end

-- BullMQ looks at all jobs that may have stalled in one script. Here at some: the others stay candidates, and the mark by
-- which this is done once per interval says so (see moveStalledJobsToWait in backend.ts). Only the last part marks the
-- active jobs for the next check.
local STALLED_AT_ONCE = 10
local moreStalled = false

local function someStalled(key)
  local jobIds = native('SPOP', key, STALLED_AT_ONCE)
  moreStalled = native('EXISTS', key) == 1
  if moreStalled then
    native('SET', key .. '-check', 'more', 'KEEPTTL')
  end
  return jobIds
end
