--[[
  countWaiting: how many jobs of a group wait in all queues of a prefix.

  KEYS[1] <prefix>::fair:queues   ARGV[1] "<prefix>:"   ARGV[2] group
  Cost: one call, and one for each queue in which anything ever waited.
]]
local waiting = 0
for _, queue in ipairs(native('HKEYS', KEYS[1])) do
  waiting = waiting + native('ZCARD', ARGV[1] .. queue .. ':' .. QUEUE .. ARGV[2])
end
return waiting
