-- The ring, see base.lua: how the next job is picked. Few functions: building them is a part of every call's cost.

-- What a newcomer is spared of its first charge: up to half of it, spread evenly by the activation number. Thousands of
-- equal tags would make the next newcomer wait a whole round. It is paid back on leaving, or coming and going would gain.
local function discountOf(activation, weight)
  return math.floor(UNIT * (0.5 - 0.5 * ((activation * 0.6180339887498949) % 1)) / weight)
end

-- A group whose last waiting job went leaves with its finish tag remembered. Up to two outdated memories go with each new
-- one, so they stay few and no call scans. The last one to leave ends the busy period: nothing is remembered, and BullMQ's
-- counter of prioritized jobs goes as it does there. Returns whether anybody is left in the ring.
local function leaveRing(base, group, member, finish)
  local ring, fin = base .. 'fair:ring', base .. 'fair:fin'
  native('ZREM', ring, member)
  native('HDEL', base .. 'fair:idx', group)
  local lowest = native('ZRANGE', ring, 0, 0, 'WITHSCORES')
  if not lowest[2] then
    native('DEL', fin, base .. 'fair:n', base .. 'pc')
    local prefix, queue = string.match(base, OF_QUEUE)
    native('HDEL', prefix .. ':fair:queues', queue)
    return false
  end
  if finish > tonumber(lowest[2]) then
    native('ZADD', fin, finish, group)
  end
  local outdated = native('ZRANGEBYSCORE', fin, '-inf', lowest[2], 'LIMIT', 0, 2)
  if #outdated > 0 then
    native('ZREM', fin, unpack(outdated))
  end
  return true
end

-- The next job under fair shares and, if more are waiting, the count that moved with it; nil when nothing waits.
-- 5 calls for a group that stays in the ring, whatever the number of groups. A group whose queue is lost (a deleted key)
-- leaves the ring; a few such are passed over per call.
local function pick(base)
  local ring = base .. 'fair:ring'
  for _ = 1, 8 do
    local lowest = native('ZRANGE', ring, 0, 0, 'WITHSCORES')
    local member, tag = lowest[1], tonumber(lowest[2])
    if not member then
      return nil
    end
    local activation, weight, fresh, start, group = string.match(member, OF_MEMBER)
    local q = base .. QUEUE .. group
    local head = native('ZPOPMIN', q)
    if head[1] then
      local nextTag, owed = tag + math.floor(UNIT / weight), 0
      if fresh == '1' then
        owed = discountOf(activation, weight)
        if tag == tonumber(start) then
          nextTag = nextTag - owed
        end
      end
      local count = countTaken(base, head[2])
      if native('EXISTS', q) == 1 then
        native('ZADD', ring, nextTag, member)
        return head[1], count
      end
      return head[1], leaveRing(base, group, member, nextTag + owed) and count or nil
    end
    leaveRing(base, group, member, tag)
  end
end
