--[[
  dueCancels: which jobs of a queue newer ones of their key have put an end to, and nobody has recorded that yet.

  KEYS[1] <base>fair:superseded   KEYS[2] <base>fair:cancels   ARGV[1] <base>   ARGV[2] at most so many of each
  Returns { jobs that never started, jobs that are active and whose grace is over }. Jobs that are gone are
  forgotten, also when another one has their id by now: it has no mark.
]]
local time = native('TIME')
local found = {
  native('ZRANGE', KEYS[1], '0', ARGV[2] - 1),
  native('ZRANGEBYSCORE', KEYS[2], '-inf', time[1] * 1000 + math.floor(time[2] / 1000), 'LIMIT', 0, ARGV[2]),
}
local due = { {}, {} }
for i, field in ipairs({ 'sup', 'name' }) do
  for _, jobId in ipairs(found[i]) do
    if native('HEXISTS', ARGV[1] .. jobId, field) == 1 then
      table.insert(due[i], jobId)
    else
      native('ZREM', KEYS[i], jobId)
    end
  end
end
return due
