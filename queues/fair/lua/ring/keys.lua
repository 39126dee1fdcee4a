--[[
  The ring, see base.lua: jobs that share a key. As limits.lua, all of this stands in a function, keys(), which builds it
  only when such a job is met.

  A key belongs to one group in one queue; <name> is "<length of group>:<group><key>". At most keyLimit of its jobs (1)
  are holders: in their group's queue, active, or delayed after they had started. The others are blocked, in the order of
  their arrival, and in nobody's way. A holder stays one while it is retried, delayed, stalled or handed back, so nothing
  of its key overtakes it; it stops being one when it ends, is removed, or waits for children (which may need the key).

  Keys, under <base>fair:
    kj           HASH  job id -> "h:<name>" for a holder, "<place>:<name>" for a blocked job (its place in q once it may run)
    kh::<name>   SET   holders
    kw::<name>   ZSET  blocked job -> arrival
    kb           HASH  group -> its blocked jobs
    bk           ZSET  name with blocked jobs -> arrival of the first of them
    ks           ZSET  name -> an arrival: what is blocked and came before it is superseded, and still to be taken off (place.lua);
                       it counts as waiting until then, but neither starts nor keeps others from it
    superseded   ZSET  job that a newer one of its key replaced before it started -> when (ms); failed by the next sweep
    cancels      ZSET  active job that a newer one supersedes, or that somebody cancels (cancel.lua) -> when its grace is over
                       (ms); <prefix>cancel tells workers
  A holder's hash has the field fk, the name. A job's hash has cxl while it is in `cancels`, so that complete.lua knows
  without a call: the reason of its failure, '' when a newer one supersedes it.
]]
local rejoins = {} -- job key -> its arrival in its key, when this very script took it off
local OF_ENTRY = '^([^:]+):(.*)$'

local function nameOf(group, key)
  return #group .. ':' .. group .. key
end

local function groupOfName(name)
  local length, rest = string.match(name, '^(%d+):(.*)$')
  return string.sub(rest, 1, tonumber(length))
end

local function limitOf(spec)
  return math.max(tonumber(spec and spec.keyLimit) or 1, 1)
end

local function entryOf(base, jobId)
  local entry = native('HGET', base .. 'fair:kj', jobId)
  if entry then
    return string.match(entry, OF_ENTRY)
  end
end

local function hold(base, jobId, name)
  native('HSET', base .. 'fair:kj', jobId, 'h:' .. name)
  native('SADD', base .. 'fair:kh::' .. name, jobId)
  if native('EXISTS', base .. jobId) == 1 then
    native('HSET', base .. jobId, 'fk', name)
  end
end

-- From which arrival on the blocked jobs of a key are not superseded.
local function firstArrival(base, name)
  return native('ZSCORE', base .. 'fair:ks', name) or '-inf'
end

-- How many blocked jobs are before one in its key; nil when it is none of them.
local function countBefore(base, name, jobId)
  local kw = base .. 'fair:kw::' .. name
  local arrival = native('ZSCORE', kw, jobId)
  return arrival and native('ZCOUNT', kw, firstArrival(base, name), '(' .. arrival)
end

local function isSuperseded(base, jobId)
  local place, name = entryOf(base, jobId)
  local bound = place and place ~= 'h' and native('ZSCORE', base .. 'fair:ks', name)
  local arrival = bound and native('ZSCORE', base .. 'fair:kw::' .. name, jobId)
  return arrival and tonumber(arrival) < tonumber(bound) or false
end

-- Takes a job off the blocked ones of its key.
local function unblock(base, jobId, name)
  local kw = base .. 'fair:kw::' .. name
  native('ZREM', kw, jobId)
  native('HDEL', base .. 'fair:kj', jobId)
  if native('HINCRBY', base .. 'fair:kb', groupOfName(name), '-1') <= 0 then
    native('HDEL', base .. 'fair:kb', groupOfName(name))
  end
  if native('EXISTS', kw) == 0 then
    native('ZREM', base .. 'fair:bk', name)
    native('ZREM', base .. 'fair:ks', name)
  end
end

-- Lets blocked jobs of a key run as far as its limit goes. The limit is that of the job whose turn it is.
local function admitNext(base, name)
  local group, kw, first = groupOfName(name), base .. 'fair:kw::' .. name, firstArrival(base, name)
  for _ = 1, 100 do
    local jobId = native('ZRANGEBYSCORE', kw, first, '+inf', 'LIMIT', '0', '1')[1]
    if not jobId then
      return
    end
    local _, spec = groupOfOptions(native('HGET', base .. jobId, 'opts'))
    if native('SCARD', base .. 'fair:kh::' .. name) >= limitOf(spec) then
      return
    end
    local place = entryOf(base, jobId)
    unblock(base, jobId, name)
    hold(base, jobId, name)
    local q = base .. QUEUE .. group
    native('ZADD', q, place, jobId)
    if native('ZCARD', q) == 1 and enterRing(base, group) then
      native('ZADD', base .. 'marker', '0', '0')
    end
  end
end

-- A holder is one no more.
local function releaseKey(base, jobId)
  local role, name = entryOf(base, jobId)
  if role ~= 'h' then
    return
  end
  native('HDEL', base .. 'fair:kj', jobId)
  native('SREM', base .. 'fair:kh::' .. name, jobId)
  native('HDEL', base .. jobId, 'fk', 'cxl')
  native('ZREM', base .. 'fair:cancels', jobId)
  admitNext(base, name)
end

-- Whether a job comes to wait for the first time: it never started, nor did it wait for children, nor does it only change
-- its place. Whatever came after it is newer than a job that comes back.
local function isNewcomer(base, jobId)
  if rejoins[base .. jobId] or entryOf(base, jobId) then
    return false
  end
  local past = native('HMGET', base .. jobId, 'ats', 'hasChildren')
  return not past[1] and not past[2]
end

-- Whether a new job of the key would have to wait for another.
local function isBusy(base, group, spec)
  return native('SCARD', base .. 'fair:kh::' .. nameOf(group, spec.key)) >= limitOf(spec)
end

-- Whether a job that comes to wait has others of its key before it. One that is superseded stays so at another place.
local function isBehind(base, jobId, name)
  local kw = base .. 'fair:kw::' .. name
  return native('EXISTS', kw) == 1
    and (rejoins[base .. jobId] or native('ZCOUNT', kw, firstArrival(base, name), '+inf') > 0)
end

-- A job comes to wait: whether it may go into its group's queue. Its kind has been counted.
local function admit(base, group, jobId, place, spec)
  local name = nameOf(group, spec.key)
  if entryOf(base, jobId) == 'h' then
    return true
  end
  if not isBusy(base, group, spec) and not isBehind(base, jobId, name) then
    hold(base, jobId, name)
    return true
  end
  local kw = base .. 'fair:kw::' .. name
  -- Alone, it needs no old place; and the numbers may have begun anew.
  local arrival = native('EXISTS', kw) == 1 and rejoins[base .. jobId] or native('HINCRBY', base .. 'fair:n', 'k', '1')
  native('ZADD', kw, arrival, jobId)
  native('HINCRBY', base .. 'fair:kb', group, '1')
  native('HSET', base .. 'fair:kj', jobId, string.format('%.0f:', place) .. name)
  native('ZADD', base .. 'fair:bk', 'NX', arrival, name)
  return false
end

-- Takes a blocked job away; false when it is none. Put back by the same script it has its old place in its key.
local function takeBlocked(base, jobId)
  local place, name = entryOf(base, jobId)
  if not place or place == 'h' then
    return false
  end
  rejoins[base .. jobId] = tonumber(native('ZSCORE', base .. 'fair:kw::' .. name, jobId))
  unblock(base, jobId, name)
  countTaken(base, place)
  if not arriving and native('EXISTS', base .. 'fair:idx', base .. 'fair:bk') == 0 then
    native('UNLINK', base .. 'fair:fin', base .. 'fair:n', base .. 'fair:park', base .. 'pc')
  end
  -- The one behind it may have a higher limit.
  if KEY_RULE == 'remove' and not arriving then
    admitNext(base, name)
  end
  return true
end

-- Holders that are neither waiting, active nor delayed any more lose their keys. Looks at about `count` entries of `kj`, or
-- at the holders of about as many names in `bk`, from `cursor` on; returns the next cursor, '0' at the end, and how many
-- there were.
local function repairKeys(base, cursor, count, place)
  local repaired, active = 0, {}
  for _, jobId in ipairs(native('LRANGE', base .. 'active', '0', '-1')) do
    active[jobId] = true
  end
  local function mend(jobId, name)
    if not active[jobId] and not native('ZSCORE', base .. QUEUE .. groupOfName(name), jobId)
      and not native('ZSCORE', base .. 'delayed', jobId) and native('HEXISTS', base .. 'fair:aj', jobId) == 0 then
      releaseKey(base, jobId)
      repaired = repaired + 1
    end
  end
  local reply = native(place == 'bk' and 'ZSCAN' or 'HSCAN', base .. 'fair:' .. place, cursor, 'COUNT', count)
  for i = 1, #reply[2], 2 do
    if place == 'bk' then
      for _, jobId in ipairs(native('SMEMBERS', base .. 'fair:kh::' .. reply[2][i])) do
        mend(jobId, reply[2][i])
      end
    else
      local role, name = string.match(reply[2][i + 1], OF_ENTRY)
      if role == 'h' then
        mend(reply[2][i], name)
      end
    end
  end
  return { reply[1], repaired }
end

keysMemo = {
  admit = admit, admitNext = admitNext, releaseKey = releaseKey, takeBlocked = takeBlocked, isBusy = isBusy, repairKeys = repairKeys,
  entryOf = entryOf, groupOfName = groupOfName, nameOf = nameOf, isNewcomer = isNewcomer, countBefore = countBefore,
  isSuperseded = isSuperseded,
}
return keysMemo
