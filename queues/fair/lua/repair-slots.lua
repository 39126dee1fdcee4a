--[[
  repairSlots: gives back the slots of a queue whose jobs are not active any more.

  KEYS[1] <base>fair:idx   ARGV[1] <base>   ARGV[2] ms in which once is enough, 0 to look in any case
  Returns { slots given back, and 0 if it did not look, 1 if it did, 2 if the times in `park` want a look,
  too: Redis' clock went back since the last one, or the caller wants to know in any case; the mark of a change of limits that
  is not known to all groups (see set-limits.lua), or '' }. Cost: some calls, however many jobs are active.
]]
local base = ARGV[1]
local prefix, queue = string.match(base, OF_QUEUE)
local time = native('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Not under <base>: nothing of a queue may outlive its obliteration.
local looks = prefix .. ':fair:repaired'
local last = tonumber(native('HGET', looks, queue) or 0)
if now >= last and now - last < tonumber(ARGV[2]) then
  return { 0, 0, '' }
end
native('HSET', looks, queue, string.format('%.0f', now))
local active = {}
for _, jobId in ipairs(native('LRANGE', base .. 'active', '0', '-1')) do
  active[jobId] = true
end
local own, released = queue .. ':', 0
for _, field in ipairs(native('HKEYS', prefix .. ':fair:slots')) do
  if string.sub(field, 1, #own) == own and not active[string.sub(field, #own + 1)] then
    limits().release(base, string.sub(field, #own + 1))
    released = released + 1
  end
end
-- Should the claims not know of them: the mark is all that makes them look.
if native('EXISTS', base .. 'delayed') == 1 then
  native('HSET', base .. 'meta', 'fair:delayed', '1')
end
local mark = native('HGET', base .. 'meta', 'fair:unsettled') or ''
return { released + gates().repair(base, active), (now < last or ARGV[2] == '0') and 2 or 1, mark }
