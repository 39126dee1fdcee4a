-- The virtual wait list, see waiting.lua: which command goes where.

local served = { wait = wait, prioritized = prioritized, active = active }
local listOrSet = { L = true, R = true, Z = true } -- commands by their first letter
local kinds = {} -- key -> 'wait', 'prioritized' or false
local own = {} -- key -> whether it is one of the script's own queue

local function isOwn(base)
  for _, key in ipairs(KEYS) do
    if key == base or key == base .. 'meta' then
      return true
    end
  end
  return false
end

local function nameOf(key)
  local kind = kinds[key]
  if kind == nil then
    kind = type(key) == 'string' and string.match(key, ':([^:]*)$') or false
    kind = served[kind] and kind or false
    kinds[key] = kind
    own[key] = kind and isOwn(string.sub(key, 1, -1 - #kind))
  end
  return kind
end

local function kindOf(command, key)
  local kind = nameOf(key)
  return kind and (own[key] or listOrSet[string.sub(command, 1, 1)]) and kind
end

-- Failed jobs, kept by group as well where that is wanted: `failed::<group>`, by their creation. BullMQ takes them off before
-- it removes them, or has deleted their hashes in this very script.
local function listFailed(command, key, ...)
  local reply, ids = native(command, key, ...), { ... }
  local base = string.sub(key, 1, -7)
  for i = command == 'ZADD' and 2 or 1, #ids do
    local list = base .. 'fair:failed::' .. groupOf(base, ids[i])
    if command == 'ZADD' then
      native('ZADD', list, native('HGET', base .. ids[i], 'timestamp') or '0', ids[i])
    else
      native('ZREM', list, ids[i])
    end
  end
  return reply
end

-- In a paused queue BullMQ looks for the job of a scheduler in the list that only old versions had.
local function removePaused(key, count, jobId)
  local removed = native('LREM', key, count, jobId)
  return removed > 0 and removed or wait.LREM(string.sub(key, 1, -7), key, count, jobId)
end

-- A list of an old BullMQ version renamed to `wait`, on the first resume after an upgrade.
local function renameToWait(from, key)
  local base = string.sub(key, 1, -5)
  for _, id in ipairs(native('LRANGE', from, '0', '-1')) do
    pushFront(base, groupOf(base, id), id)
  end
  native('DEL', from)
  return { ok = 'OK' }
end

return function(command, key, ...)
  local kind = kindOf(command, key)
  if kind == 'active' and moreStalled and command == 'LRANGE' then
    return {}
  elseif kind then
    local serve = served[kind][command]
    if not serve then
      error(command .. ' is not served on the virtual key ' .. key)
    end
    return serve(string.sub(key, 1, -1 - #kind), key, ...)
  end
  if command == 'HMSET' and select(5, ...) == 'opts' then
    -- The job may have been of another group earlier in this script.
    seenOptions[key], seenGroup[key] = select(6, ...), nil
  elseif command == 'SADD' and string.sub(key, -13) == ':dependencies' then
    -- Tells the lean finish that this job's end has children to look at.
    native('HSET', string.sub(key, 1, -14), 'hasChildren', '1')
  elseif string.sub(command, 1, 1) == 'Z' and string.sub(key, -8) == ':delayed' then
    local serve = delayed[command]
    return serve and serve(key, ...) or native(command, key, ...)
  elseif LISTS_FAILED and (command == 'ZADD' or command == 'ZREM') and string.sub(key, -7) == ':failed' then
    return listFailed(command, key, ...)
  elseif command == 'SADD' and string.sub(key, -8) == ':stalled' then
    native('HSET', string.sub(key, 1, -8) .. 'meta', 'fair:stalled', '1')
  elseif command == 'SMEMBERS' and string.sub(key, -8) == ':stalled' then
    return someStalled(key)
  elseif command == 'EXISTS' and string.sub(key, -14) == ':stalled-check' and native('GET', key) == 'more' then
    return 0
  elseif command == 'DEL' and moreStalled and string.sub(key, -8) == ':stalled' then
    return 0
  elseif command == 'LREM' and string.sub(key, -7) == ':paused' then
    return removePaused(key, ...)
  elseif KEY_RULE == 'remove' and command == 'DEL' and (...) == key .. ':logs' then
    -- The job is about to be taken off where it is.
    seenGroup[key] = seenGroup[key] or groupOfOptions(native('HGET', key, 'opts'))
  -- BullMQ resets its counter of prioritized jobs after a pick that gave none; parked and blocked ones still wait.
  elseif command == 'DEL' and string.sub(key, -3) == ':pc' and total(string.sub(key, 1, -3), false) > 0 then
    return 0
  elseif command == 'RENAME' and nameOf((...)) == 'wait' then
    return renameToWait(key, (...))
  end
  return native(command, key, ...)
end
