--[[
  The lean twin of BullMQ's addStandardJob and addPrioritizedJob for the plain case: no parent, no deduplication, no
  scheduler, no key, not lifo, in a queue without a concurrency limit. Everything else falls through (`break`) to BullMQ's own
  script, which follows; nothing has been written then.

  Effects and events are BullMQ's: the job's hash, `added` and `waiting` events. The marker is set when the group had
  nothing waiting; otherwise it is there already, or on its way with the worker that took it.

  No functions here: building the ring's would cost a tenth of the call. A job that is its group's first, or that is
  in its queue already, is left in `unplaced` to add-place.lua, behind them.

  KEYS by constants of scripts.ts: META, ID, EVENTS, MARKER, PC (nil for a job without priority). Returns the job id.
  Cost: 8 calls, one more for a prioritized job and for a custom id; a group that enters the ring costs 6 more.
]]
local unplaced
repeat
  local args, opts = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[3])
  if args[5] or args[6] or args[8] or opts['de'] or opts['lifo'] then
    break
  end
  local group = type(opts['group']) == 'table' and opts['group']
  if group and group['key'] then
    break
  end
  local meta = native('HMGET', META, 'paused', 'concurrency', 'opts.maxLenEvents')
  if meta[2] or not meta[3] then
    break
  end
  local base, jobId = args[1], args[2]
  if jobId ~= '' and native('EXISTS', base .. jobId) == 1 then
    break
  end
  local number = native('INCR', ID)
  if jobId == '' then
    jobId = string.format('%d', number)
  end
  local priority = opts['priority'] or 0
  native('HSET', base .. jobId, 'name', args[3], 'data', ARGV[2], 'opts', cjson.encode(opts), 'timestamp', args[4],
    'delay', opts['delay'] or 0, 'priority', priority)
  native('XADD', EVENTS, '*', 'event', 'added', 'jobId', jobId, 'name', args[3])

  group = group and type(group['id']) == 'string' and group['id'] or ''
  local score
  if PC then
    score = math.min(priority * 0x100000000 + native('INCR', PC) % 0x100000000, HIGHEST)
    native('HINCRBY', base .. 'fair:n', 'p', 1)
  else
    score = ORIGIN + native('HINCRBY', base .. 'fair:n', 'i', 1)
  end
  local q = base .. 'fair:q::' .. group
  local isNew = native('ZADD', q, 'NX', score, jobId) == 1
  if not isNew or native('ZCARD', q) == 1 then
    unplaced = { base = base, group = group, jobId = jobId, score = score, isNew = isNew, paused = meta[1] }
  end
  native('XADD', EVENTS, 'MAXLEN', '~', meta[3], '*', 'event', 'waiting', 'jobId', jobId)
  if not unplaced then
    return jobId
  end
until true
