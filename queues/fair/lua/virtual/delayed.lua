-- The virtual wait list, see waiting.lua: the delayed jobs, whose list is BullMQ's own.

-- When the next delayed job is due, or the next parked group: what BullMQ asks to know how long workers may sleep.
local function nextDelayed(key)
  local base, first = string.sub(key, 1, -8), native('ZRANGE', key, '0', '0', 'WITHSCORES')
  local due = tonumber(native('HGET', base .. 'meta', 'fair:due'))
  if due and not (first[2] and tonumber(first[2]) <= due * 0x1000) then
    return { 'fair:due', string.format('%.0f', due * 0x1000) }
  end
  return first
end

local function delayedOf(key)
  return string.sub(key, 1, -8)
end

-- `meta` tells the claims that there may be delayed jobs; `d` counts those of each group.
local function addDelayed(key, score, jobId)
  local base = delayedOf(key)
  local added = native('ZADD', key, score, jobId)
  if added == 1 then
    native('HSET', base .. 'meta', 'fair:delayed', '1')
    if native('HINCRBY', base .. 'fair:d', groupOf(base, jobId), '1') == 1 then
      registerQueue(base)
    end
  end
  return added
end

-- A job that is delayed after a start holds its key. What has lost its hash is counted out of the wrong group, so
-- no count outlives the last delayed job.
local function removeDelayed(key, ...)
  local base, ids, gone, left = delayedOf(key), { ... }, {}, {}
  for i, score in ipairs(native('ZMSCORE', key, ...)) do
    if score then
      local group = groupOf(base, ids[i])
      gone[#gone + 1], left[group] = ids[i], (left[group] or 0) + 1
    end
  end
  if #gone == 0 then
    return 0
  end
  native('ZREM', key, unpack(gone))
  for group, count in pairs(left) do
    if native('HINCRBY', base .. 'fair:d', group, -count) <= 0 then
      native('HDEL', base .. 'fair:d', group)
    end
  end
  if native('EXISTS', key) == 0 then
    native('DEL', base .. 'fair:d')
  end
  for _, jobId in ipairs(KEY_RULE == 'remove' and gone or {}) do
    releaseKeyOf(base, jobId)
  end
  return #gone
end

-- BullMQ promotes up to 1,000 due jobs in one script. Here each call of a worker promotes some of them before it picks, so
-- that they stay ahead of it; what is left is due, so nobody sleeps on it.
local PROMOTED_AT_ONCE = 5

local function dueOf(key, min, max, ...)
  if select(3, ...) == 1000 then
    return native('ZRANGEBYSCORE', key, min, max, 'LIMIT', 0, PROMOTED_AT_ONCE)
  end
  return native('ZRANGEBYSCORE', key, min, max, ...)
end

local delayed = {
  ZADD = addDelayed,
  ZREM = removeDelayed,
  ZRANGEBYSCORE = dueOf,
  ZRANGE = function(key, from, to, withScores)
    return withScores and nextDelayed(key) or native('ZRANGE', key, from, to)
  end,
}
