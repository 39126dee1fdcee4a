--[[
  settleGroups: brings groups that wait in a queue to where their limits and weights want them, some at a time, after
  those of `*` changed.

  KEYS[1] <base>fair:idx   ARGV[1] <base>   ARGV[2] cursor, 0 at first   ARGV[3] about how many groups
  ARGV[4] the mark of the change, which goes at the end unless a later one has put its own
  Cost: about 6 calls for each group. Returns the next cursor, 0 at the end. As any scan it may meet a group twice; it misses
  none that is there all the while, and those that come meanwhile come by the new limits.
]]
local reply = native('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
local groups = {}
for i = 1, #reply[2], 2 do
  groups[#groups + 1] = reply[2][i]
end
parking().settleAll(ARGV[1], groups)
if reply[1] == '0' and native('HGET', ARGV[1] .. 'meta', 'fair:unsettled') == ARGV[4] then
  native('HDEL', ARGV[1] .. 'meta', 'fair:unsettled')
end
return reply[1]
