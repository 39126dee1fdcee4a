--[[
  adoptSlots: gives what they should hold to active jobs that hold none of it, some at a time: slots to those whose group has
  limits, a place in the set of running jobs to those whose task has a gate.

  KEYS[1] <base>fair:idx   ARGV[1] <base>   ARGV[2] place in the list of active jobs, 0 at first   ARGV[3] how many to look at
  Returns { the next place, 0 at the end; how many got something }. A job that moves up in the list meanwhile may be missed.
  Cost: four calls, and one to eight for each job without a slot.
]]
local base, from, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = native('HGET', base .. 'meta', 'fair:gates')
local tasks = stored and cjson.decode(stored).t
local hasLimits = native('EXISTS', string.match(base, OF_QUEUE) .. ':fair:limits') == 1
if not tasks and not hasLimits then
  return { 0, 0 }
end
local jobIds = native('LRANGE', base .. 'active', from, from + count - 1)
local adopted = hasLimits and parking().adoptAmong(base, jobIds, '*') or 0
if tasks then
  adopted = adopted + gates().adoptAmong(base, jobIds, tasks)
end
return { #jobIds < count and 0 or from + count, adopted }
