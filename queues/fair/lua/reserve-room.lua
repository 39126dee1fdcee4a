--[[
  reserveRoom: holds room for jobs of a group that are about to be added, so that callers who come at the same time do
  not pass the limit together.

  Counted are the group's waiting and delayed jobs in all queues of a prefix, those that others of their key block and those set aside
  included, and what others hold. A job that is in and whose room is not given back yet counts twice for that moment, and never not.

  KEYS[1] <prefix>::fair:queues   KEYS[2] <prefix>::fair:room:<group>, HASH name -> "<jobs>:<when it lapses, ms>"
  ARGV[1] "<prefix>:"   ARGV[2] group   ARGV[3] most jobs that may wait   ARGV[4] jobs to hold room for   ARGV[5] name of what is held
  ARGV[6] ms after which it lapses, should nobody give it back
  Returns how many of the jobs there is room for. Cost: 6 calls, and four for each queue in which anything ever waited.
]]
local room, time = KEYS[2], native('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = 0
for _, queue in ipairs(native('HKEYS', KEYS[1])) do
  local base = ARGV[1] .. queue .. ':'
  taken = taken + native('ZCARD', base .. QUEUE .. ARGV[2]) + (native('HGET', base .. 'fair:kb', ARGV[2]) or 0)
    + (native('HGET', base .. 'fair:ag', ARGV[2]) or 0) + (native('HGET', base .. 'fair:d', ARGV[2]) or 0)
end
local held, latest = native('HGETALL', room), now + ARGV[6]
for i = 1, #held, 2 do
  local jobs, lapses = string.match(held[i + 1], '^(%d+):(%d+)$')
  if tonumber(lapses) > now then
    taken, latest = taken + jobs, math.max(latest, lapses)
  else
    native('HDEL', room, held[i])
  end
end
local jobs = math.min(tonumber(ARGV[4]), math.max(ARGV[3] - taken, 0))
if jobs > 0 then
  native('HSET', room, ARGV[5], string.format('%d:%.0f', jobs, now + ARGV[6]))
  native('PEXPIREAT', room, string.format('%.0f', latest))
end
return jobs
