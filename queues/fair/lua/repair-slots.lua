--[[
  repairSlots: makes the slots of a queue what they must be: one for each active job of a group with limits.

  KEYS[1] <base>fair:idx   ARGV[1] <base>   ARGV[2] ms in which once is enough, 0 to look in any case
  Returns { slots given back, slots taken anew, whether it looked }. Cost: some calls, and one for each active job without limits.
]]
local base = ARGV[1]
local prefix, queue = string.match(base, OF_QUEUE)
-- Not under <base>: nothing of a queue may outlive its obliteration.
local mark = prefix .. ':fair:repaired:' .. queue
if ARGV[2] ~= '0' and not native('SET', mark, '1', 'NX', 'PX', ARGV[2]) then
  -- A mark that lasts longer is from before Redis' clock went back.
  if native('PTTL', mark) <= tonumber(ARGV[2]) then
    return { 0, 0, 0 }
  end
  native('SET', mark, '1', 'PX', ARGV[2])
end
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
return { released, limits().adopt(base, '*'), 1 }
