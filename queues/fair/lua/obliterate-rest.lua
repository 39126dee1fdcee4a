--[[
  With the end of BullMQ's obliterate: nothing of the scheduler outlives the queue either, whatever was lost before. Groups
  that are still known by then have no jobs any more (somebody deleted their queues), and neither have keys.

  Cost: one call, and one to three for each such group and key.
]]
local KINDS = { 'ring', 'park', 'idx', 'fin', 'n', 'd', 'kj', 'kb', 'bk', 'ks', 'superseded', 'cancels', 'aj', 'at',
  'ag' }
local served = redis.call

local function forgetQueue(base)
  for _, group in ipairs(native('HKEYS', base .. 'fair:idx')) do
    parking().left(base, group)
  end
  for _, entry in ipairs(native('HVALS', base .. 'fair:kj')) do
    local name = string.match(entry, '^[^:]+:(.*)$')
    native('UNLINK', base .. 'fair:kh::' .. name, base .. 'fair:kw::' .. name)
  end
  local prefix, queue = string.match(base, OF_QUEUE)
  for _, task in ipairs(native('HKEYS', base .. 'fair:at')) do
    native('UNLINK', base .. 'fair:as::' .. task, base .. 'fair:af::' .. task)
    native('SREM', prefix .. ':fair:aside:' .. task, queue)
  end
  -- Should it come back, it is a new one, which is not known yet to have gates.
  native('HDEL', prefix .. ':fair:queues', queue)
  for _, kind in ipairs(KINDS) do
    native('UNLINK', base .. 'fair:' .. kind)
  end
end

redis.call = function(command, key, ...)
  if command == 'DEL' and key == KEYS[2] .. 'events' then
    forgetQueue(KEYS[2])
  end
  return served(command, key, ...)
end
