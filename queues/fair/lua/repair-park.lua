--[[
  repairPark: brings groups that are parked for longer to where their limits want them now, some at a time: for when Redis'
  clock has gone back since they were parked, and nothing else would look at them before that time has come again.

  KEYS[1] <base>fair:idx   ARGV[1] <base>   ARGV[2] cursor, 0 at first   ARGV[3] about how many groups to look at
  ARGV[4] ms: whoever is due within that time needs no look
  Returns { the next cursor, 0 at the end; groups that were parked wrongly }. Cost: one call, and about eight for each group
  that is due later.
]]
local base, time, moved = ARGV[1], native('TIME'), 0
local soon = time[1] * 1000000 + time[2] + ARGV[4] * 1000
local reply = native('ZSCAN', base .. 'fair:park', ARGV[2], 'COUNT', ARGV[3])
for i = 1, #reply[2], 2 do
  local group, due = reply[2][i], tonumber(reply[2][i + 1])
  if due > soon and due < HELD then
    parking().settle(base, group)
    -- Those that are no groups (see aside.lua) get their times anew from the next pick.
    if string.byte(group) ~= 0 and tonumber(native('ZSCORE', base .. 'fair:park', group) or 0) ~= due then
      moved = moved + 1
    end
  end
end
return { reply[1], moved }
