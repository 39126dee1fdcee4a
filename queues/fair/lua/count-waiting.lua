--[[
  countWaiting: how many jobs of a group wait in all queues of a prefix, those that others of their key block included.

  KEYS[1] <prefix>::fair:queues   ARGV[1] "<prefix>:"   ARGV[2] group
  Cost: one call, and two for each queue in which anything ever waited.
]]
local waiting = 0
for _, queue in ipairs(native('HKEYS', KEYS[1])) do
  local base = ARGV[1] .. queue .. ':'
  waiting = waiting + native('ZCARD', base .. QUEUE .. ARGV[2]) + (native('HGET', base .. 'fair:kb', ARGV[2]) or 0)
end
return waiting
