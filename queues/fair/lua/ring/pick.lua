-- The ring, see base.lua: how the next job is picked. Few functions: building them is a part of every call's cost.

-- The next job under fair shares and, if more may run, the count that moved with it; nil when nothing may run.
-- `read(key of a job)` gives its options and, if it only passes through to be failed, why (`defa`). Returns also what the
-- job's hash is to have in the field slot, if anything.
-- 5 calls for a group without limits that stays in the ring, whatever the number of groups. A group whose queue is lost
-- (a deleted key), or whose limits were changed behind the ring's back, leaves it; a few such are passed over per call, and
-- a mark asks for another call when that was not enough. `gated`: what gates().open gave, where it is needed; then `read`
-- gives also the job's name.
local function pick(base, read, gated)
  local ring = base .. 'fair:ring'
  for _ = 1, gated and 32 or 8 do
    local lowest = native('ZRANGE', ring, '0', '0', 'WITHSCORES')
    local member, tag = lowest[1], tonumber(lowest[2])
    if gated and gated.aside then
      local jobId, count, slot = gates().pickAside(gated, tag, read)
      if jobId then
        return jobId, count, slot
      end
    end
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
    local options, doomed
    if gated and head and head[1] then
      head, options, doomed = gates().admit(gated, member, tag, head, read)
    elseif head and head[1] then
      options, doomed = read(base .. head[1])
    end
    if head and head[1] then
      local spec = options and string.find(options, '"cost":', 1, true) and cjson.decode(options)['group']
      local cost = type(spec) == 'table' and tonumber(spec['cost']) or 1
      local charge, owed = math.floor(cost * UNIT / weight), 0
      if flags == '1' or flags == '3' then
        local moved = tag - start
        owed = math.min(discountOf(activation, weight), moved > 0 and moved or math.floor(charge / 2))
        if moved == 0 then
          charge = charge - owed
        end
      end
      local nextTag = tag + charge
      local count = countTaken(base, head[2])
      if gated and gated.aside then
        native('HSET', base .. 'fair:n', 'v', tag)
      end
      local more = native('EXISTS', q) == 1
      local slot
      if use then
        due, slot = limits().occupy(use, head[1], more, doomed)
      end
      if more and not due then
        native('ZADD', ring, nextTag, member)
        return head[1], count, slot
      end
      local isFollowed = gated and gated.aside
      -- Virtual time is where those are that are set aside, and not yet where this group is done.
      local othersLeft = leaveRing(base, group, member, isFollowed and tag or nextTag + owed, more and due)
      if more then
        parking().announcePark(base)
      end
      if isFollowed then
        gates().remember(base, group, weight, nextTag + owed)
      end
      return head[1], (othersLeft or isFollowed) and count or nil, slot
    end
    -- It is nil when the job was set aside.
    if head ~= nil then
      leaveRing(base, group, member, tag, due)
      if use then
        parking().settle(base, group)
      end
    end
  end
  -- Others may stand behind those: whoever comes next goes on, and somebody has to come.
  native('ZADD', base .. 'marker', '0', '0')
end
