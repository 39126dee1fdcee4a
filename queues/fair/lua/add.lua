--[[
  add: a lean addStandardJob and addPrioritizedJob for the plain case: no parent, no deduplication, no scheduler, not lifo,
  and of the strategies of keys only `queue`. The caller knows all of that; it runs BullMQ's own script for the others.
  It takes several jobs that were added in one turn of the caller's event loop, as complete.lua does.

  Effects and events are BullMQ's: the job's hash, `added` and `waiting` events. The hash goes without delay and priority
  while they are 0, a sixth of what it would take; scripts take their absence for 0, and so do the getters (terse-jobs.ts).
  The marker is set when nothing could run before; otherwise it is there already, or on its way with the worker that took it.

  KEYS[1] <base>; the others are made of it, since sending nine costs the client more than making them costs here
  ARGV eight for each job: its id, '' for the next number   name   timestamp   data, JSON   options, JSON
    priority, 0 for none   group   'k' and its key, or ''
  Returns for each job its id; -200, and nothing has been written of it, when there is a job with that id.

  No functions here: building the ring's would cost a tenth of the call. What needs them (a group's first job, a key
  that is taken, an id that is in its queue already) is left in `unplaced` to add-place.lua, behind them.
  Cost: 1 call; 7 for each job, one more for a custom id or a priority, three more for a key that is free; a group that
  enters the ring costs 6 more.
]]
local base = KEYS[1]
local eventsKey = base .. 'events'
local meta = native('HMGET', base .. 'meta', 'paused', 'concurrency', 'opts.maxLenEvents')
local maxLenEvents = meta[3]
if not maxLenEvents then
  maxLenEvents = 10000
  native('HSET', base .. 'meta', 'opts.maxLenEvents', maxLenEvents)
end
local ids, unplaced = {}, nil
for at = 1, #ARGV, 8 do
  local jobId, name, group, key = ARGV[at], ARGV[at + 1], ARGV[at + 6], ARGV[at + 7]
  local jobKey, refused, score, holds, why = base .. jobId, false, nil, nil, nil
  if jobId ~= '' then
    refused = native('EXISTS', jobKey) == 1 or (key ~= '' and native('HEXISTS', base .. 'fair:kj', jobId) == 1)
  end
  if refused then
    ids[#ids + 1] = -200
  else
    local number = native('INCR', base .. 'id')
    if jobId == '' then
      jobId = string.format('%d', number)
      jobKey = base .. jobId
    end
    ids[#ids + 1] = jobId

    if ARGV[at + 5] ~= '0' then
      score = math.min(ARGV[at + 5] * 0x100000000 + native('INCR', base .. 'pc') % 0x100000000, HIGHEST)
      native('HINCRBY', base .. 'fair:n', 'p', '1')
    else
      score = ORIGIN + native('HINCRBY', base .. 'fair:n', 'i', '1')
    end

    -- A free key is taken at once; the job's hash says so, for complete.lua.
    if key ~= '' then
      local spot = #group .. ':' .. group .. string.sub(key, 2)
      if native('EXISTS', base .. 'fair:kh::' .. spot, base .. 'fair:kw::' .. spot) == 0 then
        holds = spot
        native('HSET', base .. 'fair:kj', jobId, 'h:' .. spot)
        native('SADD', base .. 'fair:kh::' .. spot, jobId)
      end
    end

    if holds then
      native('HSET', jobKey, 'name', name, 'data', ARGV[at + 3], 'opts', ARGV[at + 4], 'timestamp', ARGV[at + 2], 'fk', holds)
    else
      native('HSET', jobKey, 'name', name, 'data', ARGV[at + 3], 'opts', ARGV[at + 4], 'timestamp', ARGV[at + 2])
    end
    if ARGV[at + 5] ~= '0' then
      native('HSET', jobKey, 'priority', ARGV[at + 5])
    end
    native('XADD', eventsKey, '*', 'event', 'added', 'jobId', jobId, 'name', name)

    local q = base .. 'fair:q::' .. group
    if key ~= '' and not holds then
      why = 'blocked'
    elseif native('ZADD', q, 'NX', score, jobId) == 0 then
      why = 'again'
    elseif native('ZCARD', q) == 1 then
      why = 'first'
    end
    native('XADD', eventsKey, 'MAXLEN', '~', maxLenEvents, '*', 'event', 'waiting', 'jobId', jobId)
    if why then
      unplaced = unplaced or {}
      unplaced[#unplaced + 1] = { why = why, jobId = jobId, group = group, score = score, options = ARGV[at + 4] }
    end
  end
end
if not unplaced then
  return ids
end
