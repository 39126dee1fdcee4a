import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { connectTo } from './workload.ts';

/**
 * A script of a fixed number of steps, called while others are measured: what it takes beyond its usual time is the machine's
 * doing, and those others meet the same. Like theirs, its steps read and write some of many keys.
 */
const SCRIPT = `
local at = tonumber(ARGV[1])
for step = 1, 45 do
  at = (at * 1103515245 + 12345) % 2147483648
  local key = KEYS[1] .. at % tonumber(ARGV[2])
  redis.call('HMGET', key, 'a', 'b')
  redis.call('HSET', key, 'a', at, 'b', step)
  redis.call('ZADD', KEYS[1], at, key)
end`;
const KEY = '{yardstick}';
const KEYS = 200_000;
const EVERY_MS = 2;
const MOST_UNDER_WAY = 200;

export const yardstick = { name: 'yardstick', sha: createHash('sha1').update(SCRIPT).digest('hex') };

/** Makes its keys, which from then on only change. */
export async function fillYardstick(redis: Redis): Promise<void> {
  await redis.script('LOAD', SCRIPT);
  const fill = `for i = tonumber(ARGV[1]), tonumber(ARGV[2]) - 1 do
    redis.call('HSET', KEYS[1] .. i, 'a', 2147483647, 'b', 0)
    redis.call('ZADD', KEYS[1], i, KEYS[1] .. i)
  end`;
  for (let from = 0; from < KEYS; from += 1000) await redis.eval(fill, 1, KEY, from, from + 1000);
}

/** Calls it now and then, however long the answers take, until it is stopped. */
export function runYardstick(port: number): { stop: () => Promise<void> } {
  const client = connectTo(port);
  const underWay = new Set<Promise<unknown>>();
  let calls = 0;
  const timer = setInterval(() => {
    if (underWay.size >= MOST_UNDER_WAY) return;
    const call = client.evalsha(yardstick.sha, 1, KEY, (calls += 1) * 7919, KEYS);
    underWay.add(call);
    void call.finally(() => underWay.delete(call));
  }, EVERY_MS);
  return {
    stop: async () => {
      clearInterval(timer);
      await Promise.all(underWay);
      client.disconnect();
    },
  };
}
