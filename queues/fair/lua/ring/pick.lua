-- The ring, see base.lua: how the next job is picked. Few functions: building them is a part of every call's cost.

-- Whether a time in ms has come by Redis' clock.
local function isDue(ms)
  local time = native('TIME')
  return tonumber(ms) <= time[1] * 1000 + time[2] / 1000
end

-- The next job under fair shares and, if more may run, the count that moved with it; nil when nothing may run.
-- 5 calls for a group without limits that stays in the ring, whatever the number of groups. A group whose queue is lost
-- (a deleted key), or whose limits were changed behind the ring's back, leaves it; a few such are passed over per call, and
-- a mark asks for another call when that was not enough.
local function pick(base)
  local ring = base .. 'fair:ring'
  for _ = 1, 8 do
    local lowest = native('ZRANGE', ring, 0, 0, 'WITHSCORES')
    local member, tag = lowest[1], tonumber(lowest[2])
    if not member then
      return nil
    end
    local activation, weight, flags, start, group = string.match(member, OF_MEMBER)
    local use, due
    if flags > '1' then
      use = limits().useOf(base, group)
      due = limits().dueOf(use)
    end
    local q = base .. QUEUE .. group
    local head = not due and native('ZPOPMIN', q)
    if head and head[1] then
      local nextTag, owed = tag + math.floor(UNIT / weight), 0
      if flags == '1' or flags == '3' then
        owed = discountOf(activation, weight)
        if tag == tonumber(start) then
          nextTag = nextTag - owed
        end
      end
      local count = countTaken(base, head[2])
      local more = native('EXISTS', q) == 1
      due = use and limits().occupy(use, head[1], more)
      if more and not due then
        native('ZADD', ring, nextTag, member)
        return head[1], count
      end
      local othersLeft = leaveRing(base, group, member, nextTag + owed, more and due)
      if more then
        limits().announcePark(base)
      end
      return head[1], othersLeft and count or nil
    end
    leaveRing(base, group, member, tag, due)
    if use then
      limits().settle(base, group)
    end
  end
  -- Others may stand behind those: whoever comes next goes on, and somebody has to come.
  native('ZADD', base .. 'marker', 0, '0')
end
