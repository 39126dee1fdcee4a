--[[
  The ring: which group's job runs next. Its functions stand in enter.lua, pick.lua, take.lua and, for groups with
  limits, limits.lua; what whole queues and tasks may do over all groups in gates.lua and aside.lua.

  Start-time fair queueing (Goyal, Vin, Cheng 1996). A group whose head job may run now is a member of `ring`; its score
  is the virtual start tag of that job, and the lowest tag is served. Serving moves the tag on by UNIT / weight (whole
  numbers: they are read and written on every pick). Virtual time is the lowest tag in the ring.

  Invariants
    a waiting job is in its group's queue, or blocked by others of its key (see keys.lua), or set aside for its task (see
    aside.lua): then it is in the queue of something that is no group, but is treated as a parked one;
    a group's queue is not empty if and only if it is in `idx`; then it is either in `ring` or in `park`;
    it is in `ring` if and only if none of its limits forbids its next job; in `park` it is in nobody's way;
    `idx` holds exactly one member string for each group in the ring, and '' for each in `park`;
    tags in the ring never fall, so virtual time never runs backwards;
    when nothing waits there is no other key: the busy period is over and everybody is equal.

  Keys, all under <base>fair: where base is "<prefix>:<queue>:"
    ring       ZSET  member -> start tag
    park       ZSET  group -> when its limits allow its next job (microseconds of Redis' clock); HELD until an event
    idx        HASH  group -> its member in the ring; '' while it is parked
    fin        ZSET  'f'<group> that left the ring -> finish tag, so that leaving and coming back gains nothing;
                     'w'<group> -> less the weight by which it is that: weights may change while a group is away
    n          HASH  i pushed at the back, f pushed at the front, o taken (plain jobs); p prioritized
                     jobs waiting; a activations; k arrivals of blocked jobs; v virtual time while the ring is empty and groups are parked
    d          HASH  group -> its delayed jobs
    q::<group> ZSET  job id -> place: prioritized jobs by BullMQ's own score, plain ones around ORIGIN.
                     (No key here has one or three parts, as ids of jobs have: no id collides with it.)
    In BullMQ's `meta`, as every claim reads it anyway: the field fair:due, the earliest time in `park` in ms; fair:delayed and
    fair:stalled, set while there may be delayed jobs, and members in the set `stalled`; fair:unsettled, while limits of `*`
    are new to some groups in `idx` (see set-limits.lua): which change that was.
  Shard-wide, all under <prefix>::fair:
    limits     HASH  group -> its weight, or a JSON object (see limits.lua); `*` for groups without one of their own
    queues     HASH  the queues in which anything ever waited or was delayed
    room:<group>
               HASH  room that is held for jobs about to be added, see reserve-room.lua
    slots      HASH  <queue>:<job id> -> group, for every active job of a group that had a limit when it started
    state:<group>
               HASH  what a group with limits uses of them, see limits.lua

  A ring member is <activation>:<weight>:<flags>:<start tag>:<group>; flags: 1 = fresh, 2 = has limits. The activation
  number makes equal tags first come, first served; the weight spares a read per pick. The first member of a busy period
  has its number padded beyond 64 bytes: it still sorts first, and it makes Redis keep the ring as a skip list.
  As a listpack, a ring of a hundred groups would be scanned several times per pick.

  PLAIN_FROM, PLAIN_TO, ORIGIN and HIGHEST come from scripts.ts: the band of scores of jobs without a priority, its
  middle, and the highest score of a job with one.
]]
local UNIT = 0x100000
-- The score in `park` of a group that waits for an event and not for a time; above any time in microseconds.
local HELD = 0x10000000000000

local QUEUE = 'fair:q::' -- .. group
-- "<prefix>:<queue>:" -> "<prefix>:", queue. BullMQ refuses an empty queue name, so "<prefix>::fair:…" is no queue's key.
local OF_QUEUE = '^(.*:)([^:]+):$'
-- A member -> activation, weight, flags, start, group.
local OF_MEMBER = '^(%d+):([^:]+):(%d):([^:]+):(.*)$'
local OF_WEIGHT = '^%d+:([^:]+)'

local function isPlain(score)
  return score >= PLAIN_FROM and score < PLAIN_TO
end

-- Jobs that got a slot and their groups, which pick.lua is still to write to `slots`.
local slotted = {}

-- Takes fields off a hash; returns for each in turn whether it was there. One call for one field, two for more.
local function takeFields(key, fields)
  if #fields == 1 then
    return { native('HDEL', key, fields[1]) == 1 }
  end
  local were = native('HMGET', key, unpack(fields))
  native('HDEL', key, unpack(fields))
  return were
end

-- Whether limits of `*` are new to some groups: what their members say of limits and weights is not true then.
local unsettled = false

-- Set once in a while, by the counts of jobs that were taken, for what is to be done once in a while.
local remind = false

-- Counts a job out.
local function countTaken(base, score)
  local count
  if isPlain(tonumber(score)) then
    count = native('HINCRBY', base .. 'fair:n', 'o', '1')
  else
    count = native('HINCRBY', base .. 'fair:n', 'p', '-1')
  end
  remind = remind or count % 16 == 0
end

-- What a newcomer is spared of its first charge: up to half of it, spread evenly by the activation number. Thousands of
-- equal tags would make the next newcomer wait a whole round. It is paid back on leaving, or coming and going would gain.
-- Who has a cheap first job is spared half of that charge at most, so never more than its tag has moved since.
local function discountOf(activation, weight)
  return math.floor(UNIT * (0.5 - 0.5 * ((activation * 0.6180339887498949) % 1)) / weight)
end

-- True while a new job, which is counted already, removes others of its key: they may be the last ones, and the busy period
-- goes on all the same.
local arriving = false

-- A group leaves the ring with its finish tag remembered: for `park` until the time `due`, or because nothing of it waits
-- any more. The last one to go ends the busy period: nothing is remembered, and BullMQ's counter of prioritized jobs goes
-- as it does there. `lowest`: the lowest tag of the others, if it is known. Returns whether anybody is left in the ring.
local function leaveRing(base, group, member, finish, due, lowest)
  local ring, fin, idx = base .. 'fair:ring', base .. 'fair:fin', base .. 'fair:idx'
  -- Ten memories that virtual time has passed go, so they stay few and no call scans.
  local function forgetOutdated(virtualTime)
    local outdated = native('ZRANGEBYSCORE', fin, '0', virtualTime, 'LIMIT', '0', '10')
    if #outdated > 0 then
      for i = 1, #outdated do
        outdated[#outdated + 1] = 'w' .. string.sub(outdated[i], 2)
      end
      native('ZREM', fin, unpack(outdated))
    end
  end
  native('ZREM', ring, member)
  if due then
    native('HSET', idx, group, '')
    native('ZADD', base .. 'fair:park', due, group)
  else
    native('HDEL', idx, group)
  end
  lowest = lowest or native('ZRANGE', ring, '0', '0', 'WITHSCORES')[2]
  if not lowest then
    if not arriving and native('EXISTS', idx, base .. 'fair:bk') == 0 then
      native('UNLINK', fin, base .. 'fair:n', base .. 'fair:park', base .. 'pc')
      return false
    end
    if finish >= 0 then
      native('HSET', base .. 'fair:n', 'v', string.format('%.0f', finish))
      forgetOutdated(string.format('%.0f', finish))
    end
    -- Nothing can run before it: whoever sleeps is to know.
    local timed = native('HGET', base .. 'meta', 'fair:due')
    if timed then
      native('ZADD', base .. 'marker', 'LT', timed, '1')
    end
    return false
  end
  if finish > tonumber(lowest) then
    native('ZADD', fin, finish, 'f' .. group, '-' .. string.match(member, OF_WEIGHT), 'w' .. group)
  end
  -- One in five is often enough for ten of them.
  if string.find(member, '^%d*[05]:') then
    forgetOutdated(lowest)
  end
  return true
end
