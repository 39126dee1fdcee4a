--[[
  The last part of a transaction that adds the jobs of a request: says what became of them, notes it, removes the marks.

  Invariant: what was added is in the index. There is a record if and only if something of the request is stored, and it
  names all that is.

  KEYS[1] record
  KEYS[2] marks of the transaction
  KEYS[3] index of the tenant's jobs: ZSET, see Keys.tenantJobs
  ARGV[1] fingerprint; '' for a request that may be sent again
  ARGV[2] ms within which it is going to be answered
  ARGV[3] ms for which the record is kept
  ARGV[4] the answer if it is known already and the job is stored, else ''
  ARGV[5] key prefix of the shard, such as {wg:0}
  ARGV[6] creation of the jobs in ms
  ARGV[7...] for each job its id (<queue>.<ulid>), or `!` and why it was not to be added

  Returns for each job: its id; the id of the job that stands for it; or `!` and why there is none (`!busy`: it was refused).
  Cost: one HGETALL, one EXISTS and one ZADD for each job, four calls for the record.
]]
local record, marks, index = KEYS[1], KEYS[2], KEYS[3]
local fingerprint, leaseMs, keepMs, answer, prefix, createdAt = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local FIRST, ULID_WITH_DOT = 7, 27

local function isThere(id)
  local queue = string.sub(id, 1, #id - ULID_WITH_DOT)
  return redis.call('EXISTS', prefix .. ':' .. queue .. ':' .. id) == 1
end

local marked = {}
local flat = redis.call('HGETALL', marks)
for i = 1, #flat, 2 do
  marked[flat[i]] = flat[i + 1]
end
redis.call('DEL', marks)
if marked['*'] then
  return {}
end

local outcomes, stored = {}, false
for i = FIRST, #ARGV do
  local id = ARGV[i]
  local outcome = marked[id]
  if not outcome and string.sub(id, 1, 1) == '!' then
    outcome = id
  elseif not outcome and isThere(id) then
    outcome = id
    redis.call('ZADD', index, createdAt, id)
  end
  outcome = outcome or '!busy'
  outcomes[#outcomes + 1] = outcome
  stored = stored or string.sub(outcome, 1, 1) ~= '!'
end

if fingerprint ~= '' and stored then
  redis.call('HSET', record, 'f', fingerprint, 'o', table.concat(outcomes, ' '))
  if answer ~= '' then
    redis.call('HSET', record, 'a', answer)
  else
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('HSET', record, 'l', string.format('%.0f', now + leaseMs))
  end
  redis.call('PEXPIRE', record, keepMs)
end
return outcomes
