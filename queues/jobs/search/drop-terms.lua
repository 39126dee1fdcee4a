--[[
  Drops entries of jobs that are gone from a tenant's terms: of some that are taken by chance, since jobs also go by ways
  that leave their entries behind.

  Invariant: an entry younger than the grace is never dropped, because the terms are written just before the job is.

  KEYS[1] terms: ZSET, member = <term><creation in ms, 15 digits>:<job id (<queue>.<ulid>)>, see terms.ts
  ARGV[1] key prefix of the shard, such as {wg:0}
  ARGV[2] entries created from then on (ms epoch) are left alone
  ARGV[3] how many entries to look at

  Returns the number of entries dropped. Cost: one ZRANDMEMBER, one EXISTS per entry, at most one ZREM.
]]
local terms = KEYS[1]
local prefix, before, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local ULID_WITH_DOT = 27

local gone = {}
local some = redis.call('ZRANDMEMBER', terms, most)
for i = 1, #some do
  local createdAt, id = string.match(some[i], ':(%d+):([^:]+)$')
  local queue = string.sub(id, 1, #id - ULID_WITH_DOT)
  if tonumber(createdAt) < before and redis.call('EXISTS', prefix .. ':' .. queue .. ':' .. id) == 0 then
    gone[#gone + 1] = some[i]
  end
end
if #gone == 0 then return 0 end
return redis.call('ZREM', terms, unpack(gone))
