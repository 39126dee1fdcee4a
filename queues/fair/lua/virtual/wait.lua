-- The virtual wait list, see waiting.lua: the commands on `wait` and `prioritized`.

local wait = {}

function wait.LPUSH(base, _, ...)
  return each(base, pushBack, ...)
end
function wait.RPUSH(base, _, ...)
  return each(base, pushFront, ...)
end
-- The one place where a job is chosen: by fair shares, prioritized or not.
function wait.RPOPLPUSH(base, _, activeKey)
  local meta = native('HMGET', base .. 'meta', 'fair:due', 'fair:gates', 'fair:aside', 'fair:unsettled')
  unsettled = meta[4]
  if meta[1] and times().isDue(meta[1]) then
    parking().unpark(base, 4)
  end
  local gated
  if meta[2] or meta[3] then
    gated = gates().open(base, meta[2], meta[3])
    if not gated then
      return false
    end
  end
  local jobId, _, slot = pick(base, function(jobKey)
    return unpack(native('HMGET', jobKey, 'opts', 'defa', 'name'))
  end, gated)
  if not jobId then
    return false
  end
  local gate = gated and gates().pass(gated, jobId)
  if (slot or gate) and native('EXISTS', base .. jobId) == 1 then
    for field, value in pairs({ slot = slot, gate = gate }) do
      native('HSET', base .. jobId, field, value)
    end
  end
  native('LPUSH', activeKey, jobId)
  return jobId
end
function wait.LLEN(base)
  return total(base, true)
end
function wait.EXISTS(base)
  return total(base, true) > 0 and 1 or 0
end
function wait.TYPE(base)
  return { ok = total(base, true) > 0 and 'list' or 'none' }
end
function wait.LPOS(base, _, jobId)
  local group = groupOf(base, jobId)
  -- The place inside the group; callers ask only whether there is one.
  return placeOf(base, jobId, true) and (native('ZRANK', base .. QUEUE .. group, jobId) or 0)
end
function wait.LINDEX(base, _, index)
  local found = listRange(base, index, index)
  return found[1] or false
end
function wait.LRANGE(base, key, from, to)
  local ids = listRange(base, from, to)
  if tonumber(to) == -1 then
    lastRange[key] = ids
  end
  return ids
end
function wait.LTRIM(base, key, from, to)
  if tonumber(to) ~= -1 then
    error('LTRIM is only served as a cut at the head of ' .. key)
  end
  if tonumber(from) > 0 then
    for _, id in ipairs(listRange(base, 0, tonumber(from) - 1)) do
      take(base, groupOf(base, id), id)
    end
  end
  return { ok = 'OK' }
end
function wait.LREM(base, key, _, jobId)
  if jobId == '' then
    local gone = 0
    for _, id in ipairs(doomed[key] or {}) do
      gone = gone + (take(base, groupOf(base, id), id) and 1 or 0)
    end
    doomed[key] = nil
    return gone
  end
  return takeFrom(base, jobId, true) and 1 or 0
end
-- Only as the first half of "mark by LSET, remove by LREM", with positions from the tail of the last LRANGE.
function wait.LSET(_, key, index, value)
  local ids = lastRange[key]
  local id = ids and ids[#ids + 1 + tonumber(index)]
  if value ~= '' or not id then
    error('LSET is only served as a deletion mark on a range just read from ' .. key)
  end
  doomed[key] = doomed[key] or {}
  table.insert(doomed[key], id)
  return { ok = 'OK' }
end
function wait.LPOP(base)
  local id = listRange(base, 0, 0)[1]
  return id and take(base, groupOf(base, id), id) and id or false
end
function wait.RPOP(base)
  local id = listRange(base, -1, -1)[1]
  return id and take(base, groupOf(base, id), id) and id or false
end

local prioritized = {}

function prioritized.ZADD(base, _, score, jobId)
  pushPrioritized(base, groupOf(base, jobId), jobId, score)
  -- BullMQ tells nobody of a job that it puts in front of its priority, as one that is handed back.
  if tonumber(score) % 0x100000000 == 0 and native('HEXISTS', base .. 'meta', 'paused') == 0 then
    native('ZADD', base .. 'marker', 0, '0')
  end
  return 1
end
function prioritized.ZREM(base, _, ...)
  local gone, ids = 0, { ... }
  for i = 1, #ids do
    gone = gone + (takeFrom(base, ids[i], false) and 1 or 0)
  end
  return gone
end
function prioritized.ZSCORE(base, _, jobId)
  return placeOf(base, jobId, false)
end
function prioritized.ZCARD(base)
  return total(base, false)
end
function prioritized.TYPE(base)
  return { ok = total(base, false) > 0 and 'zset' or 'none' }
end
-- BullMQ asks for a prioritized job after `wait` gave none; that pick has already considered both.
function prioritized.ZPOPMIN()
  return {}
end
function prioritized.ZRANGE(base, _, from, to)
  from, to = bounds(from, to, total(base, false))
  return slice(base, from, to, false)
end
function prioritized.ZREVRANGE(base, _, from, to)
  local n = total(base, false)
  from, to = bounds(from, to, n)
  return reversed(slice(base, n - 1 - to, n - 1 - from, false))
end
function prioritized.ZRANGEBYSCORE(base, key, min, max, _, offset, count)
  if tonumber(min) ~= 0 or max ~= '+inf' then
    error('ZRANGEBYSCORE is only served from 0 to +inf on ' .. key)
  end
  local first = tonumber(offset or 0)
  return slice(base, first, count and first + tonumber(count) - 1 or math.huge, false)
end
function prioritized.ZCOUNT(base, _, min, max)
  local n = 0
  for _, group in ipairs(native('HKEYS', base .. 'fair:idx')) do
    n = n + native('ZCOUNT', base .. QUEUE .. group, min, max)
  end
  for _, entry in ipairs(native('HVALS', base .. 'fair:kj')) do
    local place = tonumber(string.match(entry, '^(-?%d+):') or nil)
    n = n + (place and place >= tonumber(min) and place <= tonumber(max) and 1 or 0)
  end
  return n
end
