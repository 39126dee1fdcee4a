--[[
  The virtual wait list: what BullMQ's own, unchanged scripts see.

  Shadows redis.call for the rest of the script. Commands on `wait` and `prioritized` of the script's own queue, and list
  and sorted set commands on keys of that ending anywhere, are served from the groups' queues; what leaves `active` gives
  its slot back; all others pass through (ids of jobs, schedulers and deduplication may end like that too). A command that
  is not served on a virtual key is an error, never a silent pass. A job that gets a child is marked, for complete.lua.
  The files stand in one function, see scripts.ts. This one: where jobs wait.

  Order. BullMQ pushes at the head of `wait` (index 0) and serves its tail. "Run order" below counts from the
  tail: groups in the order of their tags, inside a group by place. Within one group it is exactly BullMQ's.

  Cost: a job's own group is one HGET of its options; ranges cost the groups they walk over, from the nearer end.
]]
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

local function reversed(list)
  local out = {}
  for i = #list, 1, -1 do
    out[#out + 1] = list[i]
  end
  return out
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
  return backwards and reversed(out) or out
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
