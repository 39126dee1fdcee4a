--[[
  setLimits: a group's limits and weight, or its pause, for all queues of a prefix, from the next pick on.

  KEYS[1] <prefix>::fair:limits   KEYS[2] <prefix>::fair:queues
  ARGV[1] "<prefix>:"   ARGV[2] group; `*` for those without limits of their own
  ARGV[3] what to change: limits, pause, extend
  ARGV[4] limits: a weight or a JSON object as in limits.lua, '' for those of `*`
          pause: how long in ms, -1 without end, '' to resume; the other limits stay
          extend: the same, but a pause that lasts longer stays as it is
  Invariant: the group's active jobs hold slots before any limit on them counts; no tag falls below virtual time.
  Cost: 3 to 15 calls for each queue and some for each active job. With `*` any number of groups may be in question: the
  caller settles them afterwards, some at a time (settle-groups.lua). Until that is done each queue has a mark, by which a
  pick looks at the limits also of groups that it knows without, and by which a check of slots goes on where the caller died.
  Returns the mark, '' but for `*`, and the names of the queues.
]]
local prefix, group, kind, value = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- The group's own entry with another pause; '' when nothing of its own is left.
local function paused(own)
  local limit = { i = 1 }
  if own then
    limit = string.byte(own) == 123 and cjson.decode(own) or { w = tonumber(own) }
  end
  local before = limit.u
  limit.u = nil
  if value ~= '' then
    local ms, time = tonumber(value), native('TIME')
    limit.u = ms < 0 and -1 or time[1] * 1000000 + time[2] + ms * 1000
    if kind == 'extend' and before and (before < 0 or (limit.u >= 0 and before > limit.u)) then
      limit.u = before
    end
  end
  local fields, kept = 0, nil
  for field, content in pairs(limit) do
    fields, kept = fields + 1, field
  end
  if fields == 1 and kept == 'i' then
    return ''
  end
  return fields == 1 and kept == 'w' and string.format('%.17g', limit.w) or cjson.encode(limit)
end

local entry = kind ~= 'limits' and paused(native('HGET', KEYS[1], group)) or value
if entry == '' then
  native('HDEL', KEYS[1], group)
else
  native('HSET', KEYS[1], group, entry)
end

local queues = native('HKEYS', KEYS[2])
for _, queue in ipairs(queues) do
  parking().adopt(prefix .. queue .. ':', group)
end
local time = native('TIME')
local mark = group == '*' and time[1] .. '.' .. time[2] or ''
for _, queue in ipairs(queues) do
  local base = prefix .. queue .. ':'
  if group ~= '*' then
    parking().settle(base, group)
  elseif native('EXISTS', base .. 'fair:idx') == 1 then
    native('HSET', base .. 'meta', 'fair:unsettled', mark)
  end
end
return { mark, queues }
