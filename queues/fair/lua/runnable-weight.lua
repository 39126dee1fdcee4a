--[[
  runnableWeight: the summed weight of the groups that have runnable jobs, which is what a shard claims of the
  slots of a worker that serves several. Exact up to 512 groups; beyond that the mean weight of 512 drawn at random times
  their number, so that the cost is bounded. Not the first 512: heavy groups stand at the head of the ring.

  KEYS[1] <base>fair:ring    Returns the weight as a string.
]]
local SAMPLE = 512
local groups = native('ZCARD', KEYS[1])
local members = groups > SAMPLE and native('ZRANDMEMBER', KEYS[1], SAMPLE) or native('ZRANGE', KEYS[1], '0', '-1')
local sum = 0
for _, member in ipairs(members) do
  local _, weight = string.match(member, OF_MEMBER)
  sum = sum + tonumber(weight)
end
if #members < groups then
  sum = sum / #members * groups
end
return string.format('%.17g', sum)
