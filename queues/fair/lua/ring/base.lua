--[[
  The ring: which group's job runs next. Its functions stand in enter.lua, pick.lua and take.lua.

  Start-time fair queueing (Goyal, Vin, Cheng 1996). A group with waiting jobs is a member of `ring`;
  its score is the virtual start tag of its next job, and the lowest tag is served. Serving moves the
  tag on by UNIT / weight (whole numbers: they are read and written on every pick). Virtual time is the
  lowest tag in the ring.

  Invariants
    a group is in `ring` if and only if its `q::<group>` is not empty;
    `idx` holds exactly one member string for each group in the ring;
    tags in the ring never fall, so virtual time never runs backwards;
    when the ring is empty there is no other key: the busy period is over and everybody is equal.

  Keys, all under <base>fair: where base is "<prefix>:<queue>:"
    ring       ZSET  member -> start tag
    idx        HASH  group -> its member in the ring
    fin        ZSET  group that left the ring -> finish tag, so that leaving and coming back gains nothing
    n          HASH  i pushed at the back, f pushed at the front, o taken (plain jobs); p prioritized
                     jobs waiting; a activations
    q::<group> ZSET  job id -> place: prioritized jobs by BullMQ's own score, plain ones around ORIGIN.
                     (No key here has one or three parts, as ids of jobs have: no id collides with it.)
  Shard-wide
    <prefix>::fair:weights  HASH  group -> weight; `*` for groups without one of their own; else 1
    <prefix>::fair:queues   HASH  the queues whose ring is not empty

  A ring member is <activation>:<weight>:<fresh>:<start tag>:<group>. The activation number makes equal
  tags first come, first served; the weight spares a read per pick. The first member of a busy period has
  its number padded beyond 64 bytes: it still sorts first, and it makes Redis keep the ring as a skip list.
  As a listpack, a ring of a hundred groups would be scanned several times per pick.

  PLAIN_FROM, PLAIN_TO, ORIGIN and HIGHEST come from scripts.ts: the band of scores of jobs without a priority, its
  middle, and the highest score of a job with one.
]]
local UNIT = 0x100000

local QUEUE = 'fair:q::' -- .. group
-- "<prefix>:<queue>:" -> "<prefix>:", queue. BullMQ refuses an empty queue name, so "<prefix>::fair:…" is no queue's key.
local OF_QUEUE = '^(.*:)([^:]+):$'
-- A member -> activation, weight, fresh, start, group.
local OF_MEMBER = '^(%d+):([^:]+):(%d):([^:]+):(.*)$'

-- Counts a job out; returns the new count of its kind.
local function countTaken(base, score)
  score = tonumber(score)
  if score >= PLAIN_FROM and score < PLAIN_TO then
    return native('HINCRBY', base .. 'fair:n', 'o', 1)
  end
  return native('HINCRBY', base .. 'fair:n', 'p', -1)
end
