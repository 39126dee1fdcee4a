/** Redis' clock cannot be set, so the times that are stored move the other way. */
import type { RedisConnection } from '../../../queues/topology/connections.ts';

const ADVANCE = `
local prefix, ms = ARGV[1], tonumber(ARGV[2])
local us = ms * 1000
for _, key in ipairs(redis.call('KEYS', ARGV[3] .. '::fair:state:*')) do
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 3) == 'tat' then
      redis.call('HSET', key, fields[i], string.format('%.0f', fields[i + 1] - us))
    end
  end
  local ttl = redis.call('PTTL', key)
  if ttl >= 0 then
    redis.call('PEXPIRE', key, math.max(ttl - ms, 0))
  end
end
local limits = prefix .. '::fair:limits'
local entries = redis.call('HGETALL', limits)
for i = 1, #entries, 2 do
  if string.byte(entries[i + 1]) == 123 then
    local limit = cjson.decode(entries[i + 1])
    if limit.u and limit.u > 0 then
      limit.u = limit.u - us
      redis.call('HSET', limits, entries[i], cjson.encode(limit))
    end
  end
end
for i = 4, #ARGV do
  local base = prefix .. ':' .. ARGV[i] .. ':'
  for name, by in pairs({ park = us, cancels = ms }) do
    local scored = redis.call('ZRANGE', base .. 'fair:' .. name, 0, -1, 'WITHSCORES')
    for k = 1, #scored, 2 do
      if tonumber(scored[k + 1]) < 2 ^ 52 then
        redis.call('ZADD', base .. 'fair:' .. name, string.format('%.0f', scored[k + 1] - by), scored[k])
      end
    end
  end
  local due = redis.call('HGET', base .. 'meta', 'fair:due')
  if due then
    redis.call('HSET', base .. 'meta', 'fair:due', string.format('%.0f', due - ms))
  end
  if redis.call('ZSCORE', base .. 'marker', '1') then
    redis.call('ZINCRBY', base .. 'marker', -ms, '1')
  end
end`;

/** So much time goes by for the scheduler of a prefix. */
export async function advance(
  redis: RedisConnection,
  prefix: string,
  queues: readonly string[],
  ms: number,
): Promise<void> {
  await redis.eval(ADVANCE, 0, prefix, ms, prefix, ...queues);
}

const JUMP = `
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 3) == 'tat' then
    redis.call('HSET', KEYS[1], fields[i], string.format('%.0f', fields[i + 1] + ARGV[1] * 1000))
  end
end
for i = 2, #KEYS do
  local due = tonumber(redis.call('ZSCORE', KEYS[i], ARGV[2]) or nil)
  if due and due < 2 ^ 52 and tonumber(ARGV[1]) > 0 then
    redis.call('ZADD', KEYS[i], due + ARGV[1] * 1000, ARGV[2])
  end
end`;

/** The rate of a group, and until when it is parked, were written by a server whose clock was off by so much. */
export async function jump(
  redis: RedisConnection,
  prefix: string,
  group: string,
  queues: readonly string[],
  ms: number,
): Promise<void> {
  const keys = [`${prefix}::fair:state:${group}`, ...queues.map((queue) => `${prefix}:${queue}:fair:park`)];
  await redis.eval(JUMP, keys.length, ...keys, ms, group);
}
