--[[
  setWeight: a group's weight, for all queues of a prefix, from the next pick on.

  KEYS[1] <prefix>::fair:weights   KEYS[2] <prefix>::fair:queues
  ARGV[1] "<prefix>:"   ARGV[2] group   ARGV[3] weight > 0
  Invariant: the member in `idx` is the one in `ring`; no tag falls below virtual time.
  Cost: 3 to 8 calls for each queue in which something waits.
]]
local prefix, group, weight = ARGV[1], ARGV[2], ARGV[3]
local weights = native('HMGET', KEYS[1], group, '*')
local before = tonumber(weights[1] or weights[2] or 1)
native('HSET', KEYS[1], group, weight)

-- The lead over virtual time is a debt of jobs, so it is worth another stretch of virtual time under another weight.
local function rescaled(tag, now, old)
  return tag > now and now + math.floor((tag - now) * old / tonumber(weight)) or tag
end

for _, queue in ipairs(native('HKEYS', KEYS[2])) do
  local base = prefix .. queue .. ':'
  local ring, fin = base .. 'fair:ring', base .. 'fair:fin'
  local now = tonumber(native('ZRANGE', ring, 0, 0, 'WITHSCORES')[2] or 0)
  local member = native('HGET', base .. 'fair:idx', group)
  if member then
    local tag = tonumber(native('ZSCORE', ring, member))
    local number, old, fresh, start = string.match(member, OF_MEMBER)
    local moved = rescaled(tag, now, old)
    local changed = memberOf(number, weight, fresh, tag == tonumber(start) and moved or -1, group)
    native('ZREM', ring, member)
    native('ZADD', ring, moved, changed)
    native('HSET', base .. 'fair:idx', group, changed)
  end
  local finish = native('ZSCORE', fin, group)
  if finish then
    native('ZADD', fin, rescaled(tonumber(finish), now, before), group)
  end
end
return 1
