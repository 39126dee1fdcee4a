--[[
  start: a lean moveToActive for a queue without a global rate of BullMQ's and with no delayed job due. For everything else
  it returns -200, or -202 when delayed jobs are due, and the caller runs BullMQ's own script; nothing has been written then.

  KEYS[1] <base>
  ARGV[1] now, ms   ARGV[2] the worker's name, or ''   ARGV[3] token   ARGV[4] ms its lock lasts
  The reply is that of moveToActive. Cost: 1 call plus the claim, 1 more while jobs are delayed.
]]
local base, timestamp = KEYS[1], ARGV[1]
local meta = native('HMGET', base .. 'meta', 'paused', 'concurrency', 'max', 'fair:due', 'fair:delayed', 'fair:gates',
  'fair:aside', 'fair:unsettled')
unsettled = meta[8]
if meta[3] then
  return -200
end
local delayed = meta[5] and times().nextDelayedOf(base)
if delayed and times().isDelayedDue(delayed, timestamp) then
  return -202
end
if meta[1] then
  return { 0, 0, 0, 0 }
end
if meta[4] and times().isDue(meta[4]) then
  parking().unpark(base, 4)
end
local gated, next, more
if meta[2] or meta[6] or meta[7] then
  gated = gates().open(base, meta[6], meta[7], meta[2])
end
if gated ~= false then
  next, more = claimNext(base, timestamp, ARGV[2], ARGV[3], ARGV[4], gated)
  commitClaims(base)
end
if more then
  native('ZADD', base .. 'marker', '0', '0')
end
if next then
  return next
end
return { 0, 0, 0, times().nextStart(base, timestamp, delayed) or 0 }
