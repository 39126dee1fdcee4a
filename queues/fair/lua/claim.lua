--[[
  claimNext: the lean twin of BullMQ's "fetch the next job", for a queue without a global rate.

  Gives the next job under fair shares to a worker: active list, lock, `active` event, processedOn, ats, pb.
  It does what BullMQ's prepareJobForProcessing does, with two differences a worker cannot see: the marker is left
  to the caller, and the changed fields are patched into the reply instead of read back: `slot` only where it says that the
  job's time is charged.

  Returns { job fields, job id, 0, 0 } and whether more jobs are waiting; nil when nothing is. Cost: 5 calls for the pick,
  5 for the claim. `worker` is its name or ''.
]]
local fields -- of the job, as the pick has read them
local claimed = {} -- ids that are still to go to the active list

-- Writes what a series of claims has left for its end.
local function commitClaims(base)
  if claimed[1] then
    native('LPUSH', base .. 'active', unpack(claimed))
    claimed = {}
  end
end

local function readJob(jobKey)
  local options, doomed, name
  fields = native('HGETALL', jobKey)
  for i = 1, #fields, 2 do
    local field = fields[i]
    if field == 'opts' then
      options = fields[i + 1]
    elseif field == 'defa' then
      doomed = fields[i + 1]
    elseif field == 'name' then
      name = fields[i + 1]
    end
  end
  return options, doomed, name
end

local function claimNext(base, timestamp, worker, token, lockDuration, gated)
  local jobId, more, slot = pick(base, readJob, gated)
  if not jobId then
    return nil
  end
  local jobKey = base .. jobId
  claimed[#claimed + 1] = jobId
  -- The gates count what is active.
  if gated then
    commitClaims(base)
  end
  if token ~= '0' then
    native('SET', jobKey .. ':lock', token, 'PX', lockDuration)
  end
  native('XADD', base .. 'events', '*', 'event', 'active', 'jobId', jobId, 'prev', 'waiting')

  local atProcessedOn, atStarts, atName
  for i = 1, #fields, 2 do
    local field = fields[i]
    if field == 'processedOn' then
      atProcessedOn = i
    elseif field == 'ats' then
      atStarts = i
    elseif field == 'pb' then
      atName = i
    end
  end
  local starts = string.format('%d', atStarts and fields[atStarts + 1] + 1 or 1)
  local written = { 'processedOn', timestamp, 'ats', starts }
  if slot then
    written[5], written[6] = 'slot', slot
  end
  local gate = gated and gates().pass(gated, jobId)
  if gate then
    written[#written + 1], written[#written + 2] = 'gate', gate
  end
  if worker ~= '' then
    written[#written + 1], written[#written + 2] = 'pb', worker
    atName = atName or #fields + 1
    fields[atName], fields[atName + 1] = 'pb', worker
  end
  native('HSET', jobKey, unpack(written))
  atProcessedOn = atProcessedOn or #fields + 1
  fields[atProcessedOn], fields[atProcessedOn + 1] = 'processedOn', timestamp
  atStarts = atStarts or #fields + 1
  fields[atStarts], fields[atStarts + 1] = 'ats', starts
  if slot and string.byte(slot) ~= 58 then -- :
    fields[#fields + 1], fields[#fields + 2] = 'slot', slot
  end
  return { fields, jobId, 0, 0 }, more
end
