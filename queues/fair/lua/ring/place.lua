-- The ring, see base.lua: how a job gets its place.

local specs = {} -- job key -> the option `group` of a job with a key, as far as this script has read it

-- How long an active job may take to stop when a newer one of its key supersedes it.
local GRACE_MS = 5000

-- How many blocked jobs one script takes off.
local SUPERSEDED_AT_ONCE = 50

-- Redis' clock, ms.
local function clock()
  local time = native('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Out of everything; the mark tells it from a later job with its id.
local function supersede(base, jobId, now)
  native('ZADD', base .. 'fair:superseded', now, jobId)
  native('HSET', base .. jobId, 'sup', '1')
end

-- Takes the latest of those blocked jobs of a key off that came before `bound`. What they leave is in `ks`, where the next
-- one goes on (supersede.lua): none of it starts meanwhile. Jobs of a scheduler are spared: each one's start makes the next.
local function supersedeBlocked(base, name, bound, now)
  local kw, ks = base .. 'fair:kw::' .. name, base .. 'fair:ks'
  local blocked = native('ZREVRANGEBYSCORE', kw, bound, '-inf', 'WITHSCORES', 'LIMIT', '0', SUPERSEDED_AT_ONCE)
  for i = 1, #blocked, 2 do
    local jobId = blocked[i]
    if native('HEXISTS', base .. jobId, 'rjk') == 0 and keys().takeBlocked(base, jobId) then
      supersede(base, jobId, now)
    end
  end
  local last = blocked[2 * SUPERSEDED_AT_ONCE]
  if last and native('ZCOUNT', kw, '-inf', '(' .. last) > 0 then
    native('ZADD', ks, last, name)
  else
    native('ZREM', ks, name)
  end
end

-- A new job removes those of its key that have not started, if it is to replace them; if it is to supersede them, also
-- those that are delayed after a start, and it asks the active ones to stop. What was removed is in `superseded` until a
-- sweep records it as failed; it can not start any more.
local function makeWay(base, group, spec)
  local name, now = keys().nameOf(group, spec.key), clock()
  local cancels = spec.keyStrategy == 'cancel-running'
  supersedeBlocked(base, name, '+inf', now)
  if not keys().isBusy(base, group, spec) then
    return
  end
  local prefix, queue = string.match(base, OF_QUEUE)
  for _, jobId in ipairs(native('SMEMBERS', base .. 'fair:kh::' .. name)) do
    local job = native('HMGET', base .. jobId, 'rjk', 'ats')
    local mayGo = not job[1] and (cancels or not job[2])
    if mayGo and (cancels and takeDelayed(base, group, jobId) or take(base, group, jobId)) then
      keys().releaseKey(base, jobId)
      supersede(base, jobId, now)
    elseif cancels and native('LPOS', base .. 'active', jobId)
      and native('ZADD', base .. 'fair:cancels', 'LT', 'CH', now + GRACE_MS, jobId) == 1 then
      -- Without its hash it is to stay without one: what is recorded of it is refused.
      if native('EXISTS', base .. jobId) == 1 then
        native('HSETNX', base .. jobId, 'cxl', '')
      end
      native('PUBLISH', prefix .. 'cancel', cjson.encode({ queue, jobId, native('HGET', base .. jobId, 'cxl') or '', GRACE_MS }))
    end
  end
end

-- Puts a job into its group's queue, or behind the others of its key; its kind has been counted.
local function put(base, group, jobId, score)
  local q, spec = base .. QUEUE .. group, specs[base .. jobId]
  local strategy = spec and spec.keyStrategy
  if (strategy == 'cancel-running' or strategy == 'replace-waiting') and keys().isNewcomer(base, jobId) then
    arriving = true
    makeWay(base, group, spec)
    arriving = false
  end
  if spec and not keys().admit(base, group, jobId, score, spec) then
    return
  end
  if native('ZADD', q, 'NX', score, jobId) == 0 then
    place(base, group, jobId, score)
  elseif native('ZCARD', q) == 1 then
    enterRing(base, group)
  end
end

local function pushBack(base, group, jobId)
  put(base, group, jobId, ORIGIN + native('HINCRBY', base .. 'fair:n', 'i', '1'))
end

local function pushFront(base, group, jobId)
  put(base, group, jobId, ORIGIN - native('HINCRBY', base .. 'fair:n', 'f', '1'))
end

local function pushPrioritized(base, group, jobId, score)
  native('HINCRBY', base .. 'fair:n', 'p', '1')
  put(base, group, jobId, math.min(score, HIGHEST))
end
