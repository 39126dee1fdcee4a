--[[
  Drops the oldest entries of a tenant's index whose jobs are gone.

  Invariant: an entry younger than the grace is never dropped, because the index is written just before the job is.

  KEYS[1] index: ZSET, member = job id (<queue>.<ulid>), score = creation in ms
  ARGV[1] key prefix of the shard, such as {wg:0}
  ARGV[2] entries created from then on (ms epoch) are left alone
  ARGV[3] how many entries to look at

  Returns the number of entries dropped. Cost: one ZRANGEBYSCORE, one EXISTS per entry, at most one ZREM.
]]
local index = KEYS[1]
local prefix, before, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ULID_WITH_DOT = 27

local gone = {}
local oldest = redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. before, 'LIMIT', 0, most)
for i = 1, #oldest do
  local id = oldest[i]
  local queue = string.sub(id, 1, #id - ULID_WITH_DOT)
  if redis.call('EXISTS', prefix .. ':' .. queue .. ':' .. id) == 0 then
    gone[#gone + 1] = id
  end
end
if #gone == 0 then return 0 end
return redis.call('ZREM', index, unpack(gone))
