--[[
  add: a lean addStandardJob and addPrioritizedJob for the plain case: no parent, no deduplication, no scheduler, not lifo,
  and of the strategies of keys only `queue`. The caller knows all of that; it runs BullMQ's own script for the others.

  Effects and events are BullMQ's: the job's hash, `added` and `waiting` events. The hash goes without delay and priority
  while they are 0, a sixth of what it would take; scripts take their absence for 0, and so do the getters (terse-jobs.ts).
  The marker is set when nothing could run before; otherwise it is there already, or on its way with the worker that took it.

  KEYS[1] <base>; the others are made of it, since sending nine costs the client more than making them costs here
  ARGV[1] job id, '' for the next number   ARGV[2] name   ARGV[3] timestamp   ARGV[4] data, JSON   ARGV[5] options, JSON
  ARGV[6] priority, 0 for none   ARGV[7] group   ARGV[8] key, if it has one
  Returns the job id; -200, and nothing has been written, when there is a job with that id.

  No functions here: building the ring's would cost a tenth of the call. What needs them (the group's first job, a key
  that is taken, an id that is in its queue already) is left in `unplaced` to add-place.lua, behind them.
  Cost: 8 calls, one more for a custom id or a priority, three more for a key that is free; a group that enters the ring
  costs 6 more.
]]
local base, jobId, group, key = KEYS[1], ARGV[1], ARGV[7], ARGV[8]
local jobKey, eventsKey, unplaced = base .. jobId, base .. 'events', nil
local meta = native('HMGET', base .. 'meta', 'paused', 'concurrency', 'opts.maxLenEvents')
local maxLenEvents = meta[3]
if jobId ~= '' and native('EXISTS', jobKey) == 1 or (key and jobId ~= '' and native('HEXISTS', base .. 'fair:kj', jobId) == 1) then
  return -200
end
if not maxLenEvents then
  maxLenEvents = 10000
  native('HSET', base .. 'meta', 'opts.maxLenEvents', maxLenEvents)
end
local number = native('INCR', base .. 'id')
if jobId == '' then
  jobId = string.format('%d', number)
  jobKey = base .. jobId
end

local score
if ARGV[6] ~= '0' then
  score = math.min(ARGV[6] * 0x100000000 + native('INCR', base .. 'pc') % 0x100000000, HIGHEST)
  native('HINCRBY', base .. 'fair:n', 'p', '1')
else
  score = ORIGIN + native('HINCRBY', base .. 'fair:n', 'i', '1')
end

-- A free key is taken at once; the job's hash says so, for complete.lua.
local holds
if key then
  local name = #group .. ':' .. group .. key
  if native('EXISTS', base .. 'fair:kh::' .. name, base .. 'fair:kw::' .. name) == 0 then
    holds = name
    native('HSET', base .. 'fair:kj', jobId, 'h:' .. name)
    native('SADD', base .. 'fair:kh::' .. name, jobId)
  end
end

if holds then
  native('HSET', jobKey, 'name', ARGV[2], 'data', ARGV[4], 'opts', ARGV[5], 'timestamp', ARGV[3], 'fk', holds)
else
  native('HSET', jobKey, 'name', ARGV[2], 'data', ARGV[4], 'opts', ARGV[5], 'timestamp', ARGV[3])
end
if ARGV[6] ~= '0' then
  native('HSET', jobKey, 'priority', ARGV[6])
end
native('XADD', eventsKey, '*', 'event', 'added', 'jobId', jobId, 'name', ARGV[2])

local q = base .. 'fair:q::' .. group
if key and not holds then
  unplaced = 'blocked'
elseif native('ZADD', q, 'NX', score, jobId) == 0 then
  unplaced = 'again'
elseif native('ZCARD', q) == 1 then
  unplaced = 'first'
end
native('XADD', eventsKey, 'MAXLEN', '~', maxLenEvents, '*', 'event', 'waiting', 'jobId', jobId)
if not unplaced then
  return jobId
end
