-- The ring, see base.lua: how a group and its jobs enter.

-- The lead over virtual time is a debt of jobs, so it is worth another stretch of virtual time under another weight.
local function rescaled(tag, now, old, weight)
  return tag > now and now + math.floor((tag - now) * old / weight) or tag
end

-- A queue has something for the first time, as far as is known; from now on it is among those of the prefix.
local function registerQueue(base)
  local prefix, queue = string.match(base, OF_QUEUE)
  if native('HSET', prefix .. ':fair:queues', queue, '1') == 1 then
    gates().mark(base)
  end
end

-- Where a group left off, by the weight it has now; 0 when nobody remembers.
local function finishOf(base, group, weight, now)
  local found = native('ZMSCORE', base .. 'fair:fin', 'f' .. group, 'w' .. group)
  return found[1] and rescaled(tonumber(found[1]), now, -found[2], weight) or 0
end

-- Puts a group into the ring at the current virtual time, or where it left off if that is later. `limited` is 2 for a
-- group with limits, else 0. Returns the activation number, and whether workers are to be told: they know of the ring when
-- there is somebody in it already. Once in a while all the same, in case the one that took the mark has died.
local function enterAt(base, group, weight, limited)
  local ring = base .. 'fair:ring'
  local activation = native('HINCRBY', base .. 'fair:n', 'a', '1')
  local lowest = native('ZRANGE', ring, '0', '0', 'WITHSCORES')
  local start, fresh, digits = tonumber(lowest[2]), 1, '%014d'
  if not start then
    -- The first activation of a busy period finds nothing to remember.
    start = activation > 1 and tonumber(native('HGET', base .. 'fair:n', 'v') or nil) or 0
    digits = '%070d'
  end
  if activation > 1 then
    local finish = finishOf(base, group, weight, start)
    if finish > start then
      start, fresh = finish, 0
    end
  end
  -- By concatenation: in a format a NUL in the group's name would end it.
  local member = string.format(digits, activation) .. ':' .. weight .. ':' .. (fresh + limited)
    .. string.format(':%.0f:', start) .. group
  if native('HSETNX', base .. 'fair:idx', group, member) == 0 then
    -- Its queue was lost (a deleted key) since it came: it must not stand in two places.
    native('ZREM', ring, native('HGET', base .. 'fair:idx', group))
    native('ZREM', base .. 'fair:park', group)
    native('HSET', base .. 'fair:idx', group, member)
  end
  native('ZADD', ring, start, member)
  return activation, not lowest[2] or activation % 16 == 0
end

-- A group has its first waiting job. Returns whether it may run now, and whether workers are to be told.
local function enterRing(base, group)
  local prefix = string.match(base, OF_QUEUE)
  local found = native('HMGET', prefix .. ':fair:limits', group, '*')
  local weight = found[1] or found[2] or '1'
  if string.byte(weight) == 123 then -- {
    return parking().arrive(base, group)
  end
  local activation, tell = enterAt(base, group, weight, 0)
  if activation == 1 then
    registerQueue(base)
  end
  return true, tell
end
