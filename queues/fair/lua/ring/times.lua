-- The ring, see base.lua: what is due when. Built by times() when there are delayed jobs or parked groups.

-- Whether a time in ms has come by Redis' clock.
local function isDue(ms)
  local time = native('TIME')
  return tonumber(ms) <= time[1] * 1000 + time[2] / 1000
end

-- BullMQ keeps the time of a delayed job as ms * 4096 + n.
local function isDelayedDue(score, timestamp)
  return score <= (timestamp + 1) * 0x1000 - 1
end

-- The score of the next delayed job. `meta` has the field fair:delayed while there may be one, which spares the others the question.
local function nextDelayedOf(base)
  local score = tonumber(native('ZRANGE', base .. 'delayed', '0', '0', 'WITHSCORES')[2])
  if not score then
    native('HDEL', base .. 'meta', 'fair:delayed')
  end
  return score
end

-- When a delayed job or a parked group may run next, in ms of the caller's clock; nil when nothing waits for a time.
local function nextStart(base, timestamp, delayed)
  local due = delayed and delayed / 0x1000
  if native('EXISTS', base .. 'fair:park') == 1 then
    return parking().nextDue(base, timestamp, due)
  end
  return due
end

timesMemo = { isDue = isDue, isDelayedDue = isDelayedDue, nextDelayedOf = nextDelayedOf, nextStart = nextStart }
return timesMemo
