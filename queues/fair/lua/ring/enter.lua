-- The ring, see base.lua: how a group and its jobs enter.

-- By concatenation: in a format a NUL in the group's name would end it. `number` is the formatted activation.
local function memberOf(number, weight, fresh, start, group)
  return number .. ':' .. weight .. ':' .. fresh .. string.format(':%.0f:', start) .. group
end

-- A group with its first waiting job enters at the current virtual time, or where it left off if that is later.
local function enterRing(base, group)
  local ring = base .. 'fair:ring'
  local prefix, queue = string.match(base, OF_QUEUE)
  local activation = native('HINCRBY', base .. 'fair:n', 'a', 1)
  local weights = native('HMGET', prefix .. ':fair:weights', group, '*')
  local lowest = native('ZRANGE', ring, 0, 0, 'WITHSCORES')
  local start, fresh, digits = 0, 1, '%014d'
  if lowest[2] then
    start = tonumber(lowest[2])
    local finish = tonumber(native('ZSCORE', base .. 'fair:fin', group) or 0)
    if finish > start then
      start, fresh = finish, 0
    end
  else
    digits = '%070d'
    native('HSET', prefix .. ':fair:queues', queue, 1)
  end
  local member = memberOf(string.format(digits, activation), weights[1] or weights[2] or '1', fresh, start, group)
  native('HSET', base .. 'fair:idx', group, member)
  native('ZADD', ring, start, member)
end

-- Gives a job that is in its group's queue already another place; its kind has been counted once more.
local function place(base, group, jobId, score)
  local q = base .. QUEUE .. group
  countTaken(base, native('ZSCORE', q, jobId))
  native('ZADD', q, score, jobId)
end

-- Puts a job into its group's queue; its kind has been counted.
local function put(base, group, jobId, score)
  local q = base .. QUEUE .. group
  if native('ZADD', q, 'NX', score, jobId) == 0 then
    place(base, group, jobId, score)
  elseif native('ZCARD', q) == 1 then
    enterRing(base, group)
  end
end
