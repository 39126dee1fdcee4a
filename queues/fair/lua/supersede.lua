--[[
  supersede: takes off some of the jobs that newer ones of their keys have superseded, where those were too many for the
  scripts that added the newer ones; see supersedeBlocked in ring/place.lua.

  KEYS[1] <base>fair:ks   ARGV[1] <base>
  Returns nothing. Cost: 11 calls for each of 50 jobs.
]]
local first = native('ZRANGE', KEYS[1], '0', '0', 'WITHSCORES')
if first[1] then
  supersedeBlocked(ARGV[1], first[1], '(' .. first[2], clock())
end
