--[[
  The virtual wait list: what BullMQ's own, unchanged scripts see.

  Shadows redis.call for the rest of the script. Commands on `wait` and `prioritized` of the script's own queue, and list
  and sorted set commands on keys of that ending anywhere, are served from the groups' queues; what leaves `active` gives
  its slot back; all others pass through
  (ids of jobs, schedulers and deduplication may end like that too). A command that is not served on a virtual key is an
  error, never a silent pass. A job that gets a child is marked, for complete.lua.

  Order. BullMQ pushes at the head of `wait` (index 0) and serves its tail. "Run order" below counts from the
  tail: groups in the order of their tags, inside a group by place. Within one group it is exactly BullMQ's.

  Cost: a job's own group is one HGET of its options; ranges cost the groups they walk over, from the nearer end.
]]
local shadow = (function()
  local seenOptions = {} -- job key -> options written by this very script
  local seenGroup = {} -- job key -> group, for jobs whose hash the script deletes before it takes them off the list
  local lastRange = {} -- wait key -> the ids of its last LRANGE, counted from the tail: { -1, -2, ... }
  local doomed = {} -- wait key -> ids overwritten by LSET, to go with the LREM that follows

  local function total(base, plain)
    if plain then
      local n = native('HMGET', base .. 'fair:n', 'i', 'f', 'o')
      return (tonumber(n[1]) or 0) + (tonumber(n[2]) or 0) - (tonumber(n[3]) or 0)
    end
    return tonumber(native('HGET', base .. 'fair:n', 'p')) or 0
  end

  -- The hash of the job is gone: look where it waits. Rare, so the walk over the groups is affordable.
  local function findGroup(base, jobId)
    if native('HEXISTS', base .. 'fair:kj', jobId) == 1 then
      local _, name = keys().entryOf(base, jobId)
      return keys().groupOfName(name)
    end
    local aside = native('HGET', base .. 'fair:aj', jobId)
    if aside then
      return select(2, gates().partsOf(aside))
    end
    for _, group in ipairs(native('HKEYS', base .. 'fair:idx')) do
      if native('ZSCORE', base .. QUEUE .. group, jobId) then
        return group
      end
    end
    return nil
  end

  local function groupOf(base, jobId)
    local jobKey = base .. jobId
    local group = seenGroup[jobKey]
    if group == nil then
      group, specs[jobKey] = groupOfOptions(seenOptions[jobKey] or native('HGET', jobKey, 'opts'))
      group = group or findGroup(base, jobId) or ''
      seenGroup[jobKey] = group
    end
    return group
  end

  local function placeOf(base, jobId, plain)
    local score = native('ZSCORE', base .. QUEUE .. groupOf(base, jobId), jobId)
    if not score then
      local entry = native('HGET', base .. 'fair:kj', jobId)
      score = entry and string.match(entry, '^(-?%d+):')
    end
    if not score then
      local aside = native('HGET', base .. 'fair:aj', jobId)
      score = aside and native('ZSCORE', base .. QUEUE .. aside, jobId)
    end
    if score and isPlain(tonumber(score)) == plain then
      return score
    end
    return false
  end

  local function takeFrom(base, jobId, plain)
    return placeOf(base, jobId, plain) and take(base, groupOf(base, jobId), jobId)
  end

  -- Up to `want` jobs of one kind in a group's queue after the first `skip`; and how many are still to be skipped.
  local function queuedOf(base, group, plain, backwards, skip, want)
    local q = base .. QUEUE .. group
    local low, high = plain and PLAIN_MIN or OTHER_MIN, plain and PLAIN_MAX or OTHER_MAX
    local here = native('ZCOUNT', q, low, high)
    if skip >= here then
      return {}, skip - here
    end
    if backwards then
      return native('ZREVRANGEBYSCORE', q, high, low, 'LIMIT', skip, want), 0
    end
    return native('ZRANGEBYSCORE', q, low, high, 'LIMIT', skip, want), 0
  end

  -- The same among the blocked jobs of a key.
  local function blockedOf(base, name, plain, backwards, skip)
    local ids = {}
    for _, id in ipairs(native(backwards and 'ZREVRANGE' or 'ZRANGE', base .. 'fair:kw::' .. name, 0, -1)) do
      local place = string.match(native('HGET', base .. 'fair:kj', id) or '', '^(-?%d+):')
      if place and isPlain(tonumber(place)) == plain then
        if skip > 0 then
          skip = skip - 1
        else
          ids[#ids + 1] = id
        end
      end
    end
    return ids, skip
  end

  -- The ids from..to (counted from 0 in run order) of the plain or the prioritized jobs.
  local function slice(base, from, to, plain)
    local all = total(base, plain)
    to = math.min(to, all - 1)
    if from > to then
      return {}
    end
    local backwards = from > all - 1 - to
    local skip, want = from, to - from + 1
    if backwards then
      skip = all - 1 - to
    end
    local range = backwards and 'ZREVRANGE' or 'ZRANGE'
    local sources = backwards and { 'fair:bk', 'fair:park', 'fair:ring' } or { 'fair:ring', 'fair:park', 'fair:bk' }
    local out, source, chunk = {}, 1, 0
    while want > 0 and sources[source] do
      local kind = sources[source]
      local members = native(range, base .. sources[source], chunk, chunk + 63)
      chunk = chunk + 64
      if #members < 64 then
        source, chunk = source + 1, 0
      end
      for _, member in ipairs(members) do
        local ids, group
        if kind == 'fair:bk' then
          group = keys().groupOfName(member)
          ids, skip = blockedOf(base, member, plain, backwards, skip)
        else
          group = kind == 'fair:park' and member or select(5, string.match(member, OF_MEMBER))
          ids, skip = queuedOf(base, group, plain, backwards, skip, want)
          if ids[1] and string.byte(group) == 0 then
            group = select(2, gates().partsOf(group))
          end
        end
        for _, id in ipairs(ids) do
          if want > 0 then
            seenGroup[base .. id] = group
            out[#out + 1] = id
            want = want - 1
          end
        end
        if want == 0 then
          break
        end
      end
    end
    if backwards then
      local forwards = {}
      for i = #out, 1, -1 do
        forwards[#forwards + 1] = out[i]
      end
      return forwards
    end
    return out
  end

  local function reversed(list)
    local out = {}
    for i = #list, 1, -1 do
      out[#out + 1] = list[i]
    end
    return out
  end

  -- Redis' rules for the two ends of a range over n elements, as 0-based inclusive bounds.
  local function bounds(from, to, n)
    from, to = tonumber(from), tonumber(to)
    if from < 0 then from = math.max(n + from, 0) end
    if to < 0 then to = n + to end
    return from, math.min(to, n - 1)
  end

  local function listRange(base, from, to)
    local n = total(base, true)
    from, to = bounds(from, to, n)
    if from > to then
      return {}
    end
    return reversed(slice(base, n - 1 - to, n - 1 - from, true))
  end

  local function each(base, serve, ...)
    local ids = { ... }
    for i = 1, #ids do
      serve(base, groupOf(base, ids[i]), ids[i])
    end
    return total(base, true)
  end

  local wait = {}

  function wait.LPUSH(base, _, ...)
    return each(base, pushBack, ...)
  end
  function wait.RPUSH(base, _, ...)
    return each(base, pushFront, ...)
  end
  -- The one place where a job is chosen: by fair shares, prioritized or not.
  function wait.RPOPLPUSH(base, _, activeKey)
    local meta = native('HMGET', base .. 'meta', 'fair:due', 'fair:gates', 'fair:aside')
    if meta[1] and times().isDue(meta[1]) then
      parking().unpark(base, 8)
    end
    local gated
    if meta[2] or meta[3] then
      gated = gates().open(base, meta[2], meta[3])
      if not gated then
        return false
      end
    end
    local jobId, _, slot = pick(base, function(jobKey)
      return unpack(native('HMGET', jobKey, 'opts', 'defa', 'name'))
    end, gated)
    if not jobId then
      return false
    end
    local gate = gated and gates().pass(gated, jobId)
    if (slot or gate) and native('EXISTS', base .. jobId) == 1 then
      for field, value in pairs({ slot = slot, gate = gate }) do
        native('HSET', base .. jobId, field, value)
      end
    end
    native('LPUSH', activeKey, jobId)
    return jobId
  end
  function wait.LLEN(base)
    return total(base, true)
  end
  function wait.EXISTS(base)
    return total(base, true) > 0 and 1 or 0
  end
  function wait.TYPE(base)
    return { ok = total(base, true) > 0 and 'list' or 'none' }
  end
  function wait.LPOS(base, _, jobId)
    local group = groupOf(base, jobId)
    -- The place inside the group; callers ask only whether there is one.
    return placeOf(base, jobId, true) and (native('ZRANK', base .. QUEUE .. group, jobId) or 0)
  end
  function wait.LINDEX(base, _, index)
    local found = listRange(base, index, index)
    return found[1] or false
  end
  function wait.LRANGE(base, key, from, to)
    local ids = listRange(base, from, to)
    if tonumber(to) == -1 then
      lastRange[key] = ids
    end
    return ids
  end
  function wait.LTRIM(base, key, from, to)
    if tonumber(to) ~= -1 then
      error('LTRIM is only served as a cut at the head of ' .. key)
    end
    if tonumber(from) > 0 then
      for _, id in ipairs(listRange(base, 0, tonumber(from) - 1)) do
        take(base, groupOf(base, id), id)
      end
    end
    return { ok = 'OK' }
  end
  function wait.LREM(base, key, _, jobId)
    if jobId == '' then
      local gone = 0
      for _, id in ipairs(doomed[key] or {}) do
        gone = gone + (take(base, groupOf(base, id), id) and 1 or 0)
      end
      doomed[key] = nil
      return gone
    end
    return takeFrom(base, jobId, true) and 1 or 0
  end
  -- Only as the first half of "mark by LSET, remove by LREM", with positions from the tail of the last LRANGE.
  function wait.LSET(_, key, index, value)
    local ids = lastRange[key]
    local id = ids and ids[#ids + 1 + tonumber(index)]
    if value ~= '' or not id then
      error('LSET is only served as a deletion mark on a range just read from ' .. key)
    end
    doomed[key] = doomed[key] or {}
    table.insert(doomed[key], id)
    return { ok = 'OK' }
  end
  function wait.LPOP(base)
    local id = listRange(base, 0, 0)[1]
    return id and take(base, groupOf(base, id), id) and id or false
  end
  function wait.RPOP(base)
    local id = listRange(base, -1, -1)[1]
    return id and take(base, groupOf(base, id), id) and id or false
  end

  local prioritized = {}

  function prioritized.ZADD(base, _, score, jobId)
    pushPrioritized(base, groupOf(base, jobId), jobId, score)
    -- BullMQ tells nobody of a job that it puts in front of its priority, as one that is handed back.
    if tonumber(score) % 0x100000000 == 0 and native('HEXISTS', base .. 'meta', 'paused') == 0 then
      native('ZADD', base .. 'marker', 0, '0')
    end
    return 1
  end
  function prioritized.ZREM(base, _, ...)
    local gone, ids = 0, { ... }
    for i = 1, #ids do
      gone = gone + (takeFrom(base, ids[i], false) and 1 or 0)
    end
    return gone
  end
  function prioritized.ZSCORE(base, _, jobId)
    return placeOf(base, jobId, false)
  end
  function prioritized.ZCARD(base)
    return total(base, false)
  end
  function prioritized.TYPE(base)
    return { ok = total(base, false) > 0 and 'zset' or 'none' }
  end
  -- BullMQ asks for a prioritized job after `wait` gave none; that pick has already considered both.
  function prioritized.ZPOPMIN()
    return {}
  end
  function prioritized.ZRANGE(base, _, from, to)
    from, to = bounds(from, to, total(base, false))
    return slice(base, from, to, false)
  end
  function prioritized.ZREVRANGE(base, _, from, to)
    local n = total(base, false)
    from, to = bounds(from, to, n)
    return reversed(slice(base, n - 1 - to, n - 1 - from, false))
  end
  function prioritized.ZRANGEBYSCORE(base, key, min, max, _, offset, count)
    if tonumber(min) ~= 0 or max ~= '+inf' then
      error('ZRANGEBYSCORE is only served from 0 to +inf on ' .. key)
    end
    local first = tonumber(offset or 0)
    return slice(base, first, count and first + tonumber(count) - 1 or math.huge, false)
  end
  function prioritized.ZCOUNT(base, _, min, max)
    local n = 0
    for _, group in ipairs(native('HKEYS', base .. 'fair:idx')) do
      n = n + native('ZCOUNT', base .. QUEUE .. group, min, max)
    end
    for _, entry in ipairs(native('HVALS', base .. 'fair:kj')) do
      local place = tonumber(string.match(entry, '^(-?%d+):') or nil)
      n = n + (place and place >= tonumber(min) and place <= tonumber(max) and 1 or 0)
    end
    return n
  end

  -- The list itself is BullMQ's. Whatever takes a job off it gives its slot back.
  local active = setmetatable({}, {
    __index = function(_, command)
      return function(_, ...)
        return native(command, ...)
      end
    end,
  })

  local function releaseSlot(base, jobId)
    if KEY_RULE ~= 'keep' then
      releaseKeyOf(base, jobId)
    end
    local job = native('HMGET', base .. jobId, 'slot', 'gate', 'name', 'cxl')
    local isLost = not job[3]
    if job[4] and KEY_RULE ~= 'keep' then
      native('ZREM', base .. 'fair:cancels', jobId)
      native('HDEL', base .. jobId, 'cxl')
    end
    if job[1] or isLost then
      limits().release(base, jobId, job[1])
    end
    if job[2] then
      gates().release(base, jobId, job[2])
    elseif isLost then
      gates().releaseLost(base, jobId)
    end
    if job[1] or job[2] then
      native('HDEL', base .. jobId, 'slot', 'gate')
    end
  end

  -- BullMQ tells nobody of a slot that comes free under a global concurrency, and knows of no gate.
  local function announceSlot(base)
    local meta = native('HMGET', base .. 'meta', 'concurrency', 'paused', 'fair:gates')
    local isLimited = meta[1] or meta[3] and string.find(meta[3], '"q":', 1, true)
    if isLimited and not meta[2] and native('EXISTS', base .. 'fair:idx') == 1 then
      native('ZADD', base .. 'marker', 0, '0')
    end
  end

  function active.LREM(base, key, count, jobId)
    local removed = native('LREM', key, count, jobId)
    if removed > 0 then
      announceSlot(base)
    end
    if jobId == '' then
      for _, id in ipairs(doomed[key] or {}) do
        releaseSlot(base, id)
      end
      doomed[key] = nil
    elseif removed > 0 then
      releaseSlot(base, jobId)
    end
    return removed
  end
  function active.LSET(_, key, index, value)
    doomed[key] = doomed[key] or {}
    table.insert(doomed[key], native('LINDEX', key, index))
    return native('LSET', key, index, value)
  end
  function active.LTRIM(base, key, from, to)
    if tonumber(to) ~= -1 then
      error('LTRIM is only served as a cut at the head of ' .. key)
    end
    local cut = tonumber(from) > 0 and native('LRANGE', key, '0', from - 1) or {}
    local reply = native('LTRIM', key, from, to)
    for _, id in ipairs(cut) do
      releaseSlot(base, id)
    end
    return reply
  end

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

  -- When the next delayed job is due, or the next parked group: what BullMQ asks to know how long workers may sleep.
  local function nextDelayed(key)
    local base, first = string.sub(key, 1, -8), native('ZRANGE', key, '0', '0', 'WITHSCORES')
    local due = tonumber(native('HGET', base .. 'meta', 'fair:due'))
    if due and not (first[2] and tonumber(first[2]) <= due * 0x1000) then
      return { 'fair:due', string.format('%.0f', due * 0x1000) }
    end
    return first
  end

  local function delayedOf(key)
    return string.sub(key, 1, -8)
  end

  -- `meta` tells the claims that there may be delayed jobs; `d` counts those of each group.
  local function addDelayed(key, score, jobId)
    local base = delayedOf(key)
    local added = native('ZADD', key, score, jobId)
    if added == 1 then
      native('HSET', base .. 'meta', 'fair:delayed', '1')
      if native('HINCRBY', base .. 'fair:d', groupOf(base, jobId), '1') == 1 then
        registerQueue(base)
      end
    end
    return added
  end

  -- A job that is delayed between two attempts holds its key. What has lost its hash is counted out of the wrong group, so
  -- no count outlives the last delayed job.
  local function removeDelayed(key, ...)
    local base, ids, gone, left = delayedOf(key), { ... }, {}, {}
    for i, score in ipairs(native('ZMSCORE', key, ...)) do
      if score then
        local group = groupOf(base, ids[i])
        gone[#gone + 1], left[group] = ids[i], (left[group] or 0) + 1
      end
    end
    if #gone == 0 then
      return 0
    end
    native('ZREM', key, unpack(gone))
    for group, count in pairs(left) do
      if native('HINCRBY', base .. 'fair:d', group, -count) <= 0 then
        native('HDEL', base .. 'fair:d', group)
      end
    end
    if native('EXISTS', key) == 0 then
      native('DEL', base .. 'fair:d')
    end
    for _, jobId in ipairs(KEY_RULE == 'remove' and gone or {}) do
      releaseKeyOf(base, jobId)
    end
    return #gone
  end

  -- BullMQ promotes up to 1,000 due jobs in one script. Here each call of a worker promotes some of them before it picks, so
  -- that they stay ahead of it; what is left is due, so nobody sleeps on it.
  local PROMOTED_AT_ONCE = 20

  local function dueOf(key, min, max, ...)
    if select(3, ...) == 1000 then
      return native('ZRANGEBYSCORE', key, min, max, 'LIMIT', 0, PROMOTED_AT_ONCE)
    end
    return native('ZRANGEBYSCORE', key, min, max, ...)
  end

  -- BullMQ looks at all jobs that may have stalled in one script. Here at some: the others stay candidates, and the mark by
  -- which this is done once per interval says so (see moveStalledJobsToWait in backend.ts). Only the last part marks the
  -- active jobs for the next check.
  local STALLED_AT_ONCE = 10
  local moreStalled = false

  local function someStalled(key)
    local jobIds = native('SPOP', key, STALLED_AT_ONCE)
    moreStalled = native('EXISTS', key) == 1
    if moreStalled then
      native('SET', key .. '-check', 'more', 'KEEPTTL')
    end
    return jobIds
  end

  local delayed = {
    ZADD = addDelayed,
    ZREM = removeDelayed,
    ZRANGEBYSCORE = dueOf,
    ZRANGE = function(key, from, to, withScores)
      return withScores and nextDelayed(key) or native('ZRANGE', key, from, to)
    end,
  }

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
end)()

local redis = {
  call = shadow,
  -- As redis.pcall: an error is a value.
  pcall = function(...)
    local ok, reply = pcall(shadow, ...)
    if ok then
      return reply
    end
    return type(reply) == 'table' and reply or { err = tostring(reply) }
  end,
  error_reply = redis.error_reply,
  status_reply = redis.status_reply,
}
