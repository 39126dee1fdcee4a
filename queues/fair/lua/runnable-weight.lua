--[[
  runnableWeight: the summed weight of the groups that have runnable jobs, which is what a shard claims of the
  slots of a worker that serves several. Exact up to 512 groups; beyond that the mean of the first 512 times
  their number, so that the cost is bounded.

  KEYS[1] <base>fair:ring    Returns the weight as a string.
]]
local members = native('ZRANGE', KEYS[1], 0, 511)
local sum = 0
for _, member in ipairs(members) do
  local _, weight = string.match(member, OF_MEMBER)
  sum = sum + tonumber(weight)
end
if #members == 512 then
  sum = sum / 512 * native('ZCARD', KEYS[1])
end
return string.format('%.17g', sum)
