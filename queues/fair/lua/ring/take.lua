-- The ring, see base.lua: what only the less frequent paths need.

local function isPlain(score)
  return score >= PLAIN_FROM and score < PLAIN_TO
end

local function pushBack(base, group, jobId)
  put(base, group, jobId, ORIGIN + native('HINCRBY', base .. 'fair:n', 'i', 1))
end

local function pushFront(base, group, jobId)
  put(base, group, jobId, ORIGIN - native('HINCRBY', base .. 'fair:n', 'f', 1))
end

local function pushPrioritized(base, group, jobId, score)
  native('HINCRBY', base .. 'fair:n', 'p', 1)
  put(base, group, jobId, math.min(score, HIGHEST))
end

-- Takes one given job out of its group's queue. Returns whether it was there.
local function take(base, group, jobId)
  local q = base .. QUEUE .. group
  local score = native('ZSCORE', q, jobId)
  if not score then
    return false
  end
  native('ZREM', q, jobId)
  countTaken(base, score)
  if native('EXISTS', q) == 0 then
    local member = native('HGET', base .. 'fair:idx', group)
    local tag = tonumber(native('ZSCORE', base .. 'fair:ring', member))
    local activation, weight, fresh, start = string.match(member, OF_MEMBER)
    local owed = fresh == '1' and tag > tonumber(start) and discountOf(activation, weight) or 0
    leaveRing(base, group, member, tag + owed)
  end
  return true
end

-- The group a job belongs to, by its stored options: '' for an ungrouped job, nil when the job's hash is gone.
local function groupOfOptions(options)
  if not options then
    return nil
  end
  local group = string.find(options, '"group"', 1, true) and cjson.decode(options)['group']
  local id = type(group) == 'table' and group['id']
  return type(id) == 'string' and id or ''
end
