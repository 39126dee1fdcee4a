--[[
  Sets a field of an API key that is there and belongs to the tenant: a plain HSET would bring a key that has just gone
  back to life, without an end.

  KEYS[1] the key: HASH
  ARGV[1] tenant   ARGV[2] field   ARGV[3] its value
  ARGV[4] the value it must have now, '' for any   ARGV[5] in how many ms the key goes, '' to leave that

  Returns 1 when the key is the tenant's, whether or not the field changed; else 0. Cost: at most 4 calls.
]]
local key, tenant, field, value, before, ttl = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('HGET', key, 'tenant') ~= tenant then
  return 0
end
if before == '' or redis.call('HGET', key, field) == before then
  redis.call('HSET', key, field, value)
  if ttl ~= '' then
    redis.call('PEXPIRE', key, ttl)
  end
end
return 1
