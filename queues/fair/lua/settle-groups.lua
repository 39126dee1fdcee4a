--[[
  settleGroups: brings groups that wait in a queue to where their limits and weights want them, some at a time, after
  those of `*` changed.

  KEYS[1] <base>fair:idx   ARGV[1] <base>   ARGV[2] cursor, 0 at first   ARGV[3] about how many groups
  Cost: about 6 calls for each group, some for each of the newest active jobs that has no slot, at the end for all of them.
  Returns the next cursor, 0 at the end. As any scan it may meet a group twice.
]]
local reply = native('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
-- Jobs may have started since without a slot, in groups that were not known to be limited.
parking().adopt(ARGV[1], '*', reply[1] ~= '0')
local groups = {}
for i = 1, #reply[2], 2 do
  groups[#groups + 1] = reply[2][i]
end
parking().settleAll(ARGV[1], groups)
return reply[1]
