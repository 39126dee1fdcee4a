--[[
  countActive: how many of a part of a queue's active jobs are of a group.

  KEYS[1] <base>active   ARGV[1] <base>   ARGV[2] group   ARGV[3] first, ARGV[4] last of the list
  Returns { how many, how many were looked at }. Cost: one call for each job.
]]
local jobIds, count = native('LRANGE', KEYS[1], ARGV[3], ARGV[4]), 0
for _, jobId in ipairs(jobIds) do
  if groupOfOptions(native('HGET', ARGV[1] .. jobId, 'opts')) == ARGV[2] then
    count = count + 1
  end
end
return { count, #jobIds }
