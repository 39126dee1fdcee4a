--[[
  Books what tenants of a shard used into the minute that runs, by Redis' clock.

  Invariants: a batch is booked once, however often it is sent: its sender numbers its batches, and sends the next one
  when the one before was answered. The number is written first, because a server without memory refuses a script's first
  write and then nothing is booked. A minute's weight is the sum of those of the tenants that took units in it, each
  as it was when they first did.

  KEYS[1] usage of the shard: HASH, <minute>:units, <minute>:weight
  KEYS[2] STRING: the last batch of this sender that was booked
  ARGV[1] number of the batch
  ARGV[2] JSON: [[key of the tenant's usage (HASH, minute -> counts as JSON), its weight, { name: count, ... }], ...]

  Minutes are numbers: whole minutes since 1970. Returns 1, or 0 when the batch had been booked before.
  Cost: 6 calls and 2 for each tenant; in a new minute 2 to 4 more for each tenant, and for the shard.
]]
local shard, sender = KEYS[1], KEYS[2]
local number, batch = tonumber(ARGV[1]), cjson.decode(ARGV[2])
-- Read are the minute that runs and the 60 before it; the rest is room for clocks and late readers.
local KEPT_MINUTES, KEPT_SECONDS = 61, 65 * 60

if tonumber(redis.call('GET', sender) or 0) >= number then
  return 0
end
redis.call('SET', sender, number, 'EX', KEPT_SECONDS)
local minute = math.floor(redis.call('TIME')[1] / 60)

-- Called once in a minute for each key, so fields do not pile up and idle keys go.
local function renew(key)
  local outdated = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if tonumber(string.match(field, '^%d+')) < minute - KEPT_MINUTES then
      outdated[#outdated + 1] = field
    end
  end
  if #outdated > 0 then
    redis.call('HDEL', key, unpack(outdated))
  end
  redis.call('EXPIRE', key, KEPT_SECONDS)
end

local units, weight = 0, 0
for _, entry in ipairs(batch) do
  local key, ownWeight, counts = entry[1], entry[2], entry[3]
  local before = redis.call('HGET', key, minute)
  local sums = before and cjson.decode(before) or {}
  if counts.units and not sums.weight then
    sums.weight = ownWeight
    weight = weight + ownWeight
  end
  for name, count in pairs(counts) do
    sums[name] = (sums[name] or 0) + count
  end
  redis.call('HSET', key, minute, cjson.encode(sums))
  if not before then
    renew(key)
  end
  units = units + (counts.units or 0)
end

local isNew = redis.call('HEXISTS', shard, minute .. ':units') == 0
redis.call('HINCRBYFLOAT', shard, minute .. ':units', units)
redis.call('HINCRBYFLOAT', shard, minute .. ':weight', weight)
if isNew then
  renew(shard)
end
return 1
