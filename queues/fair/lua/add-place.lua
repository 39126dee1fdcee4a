-- The second half of add.lua; see there.
local wakes = false
for _, job in ipairs(unplaced) do
  local isFirst, q = job.why == 'first', base .. QUEUE .. job.group
  if job.why == 'blocked' then
    local _, spec = groupOfOptions(job.options)
    if keys().admit(base, job.group, job.jobId, job.score, spec) then
      native('ZADD', q, job.score, job.jobId)
      isFirst = native('ZCARD', q) == 1
    end
  elseif job.why == 'again' then
    place(base, job.group, job.jobId, job.score)
  end
  if isFirst then
    local mayRun, tell = enterRing(base, job.group)
    wakes = wakes or mayRun and tell
  end
end
if wakes and not meta[1] and not (meta[2] and native('LLEN', base .. 'active') >= tonumber(meta[2])) then
  native('ZADD', base .. 'marker', '0', '0')
end
return ids
