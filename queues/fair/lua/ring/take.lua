-- The ring, see base.lua: what only the less frequent paths need.

-- Gives back the key of a job that is removed, if it has one.
local function releaseKeyOf(base, jobId)
  if native('HEXISTS', base .. 'fair:kj', jobId) == 1 then
    keys().releaseKey(base, jobId)
  end
end

-- Whether a newer job of its key has superseded one that waits, and that is still to be taken off; see place.lua.
local function isSuperseded(base, jobId)
  return native('EXISTS', base .. 'fair:ks') == 1 and keys().isSuperseded(base, jobId)
end

-- Takes a delayed job away; returns whether it was there.
local function takeDelayed(base, group, jobId)
  if native('ZREM', base .. 'delayed', jobId) == 0 then
    return false
  end
  if native('HINCRBY', base .. 'fair:d', group, '-1') <= 0 then
    native('HDEL', base .. 'fair:d', group)
  end
  return true
end

-- Takes one given job out of its group's queue, off the blocked ones of its key, or off those that are set aside. Returns
-- whether it was there.
local function take(base, group, jobId)
  local q = base .. QUEUE .. group
  local score = native('ZSCORE', q, jobId)
  if not score then
    if keys().takeBlocked(base, jobId) then
      return true
    end
    local found = gates().takeAside(base, jobId)
    if found and KEY_RULE == 'remove' then
      releaseKeyOf(base, jobId)
    end
    return found
  end
  native('ZREM', q, jobId)
  countTaken(base, score)
  if native('EXISTS', q) == 0 then
    local member = native('HGET', base .. 'fair:idx', group)
    if member == '' then
      native('ZREM', base .. 'fair:park', group)
      leaveRing(base, group, member, -1)
      parking().left(base, group)
      parking().announcePark(base)
    else
      parking().emptied(base, group, member, tonumber(native('ZSCORE', base .. 'fair:ring', member)))
    end
  end
  if KEY_RULE == 'remove' then
    releaseKeyOf(base, jobId)
  end
  return true
end
