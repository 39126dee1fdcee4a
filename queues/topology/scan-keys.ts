import type { Redis } from 'ioredis';
import { isCluster } from './connections.ts';
import type { RedisConnection } from './connections.ts';

/** Keys that one step looks at, a fraction of a millisecond of Redis' time. */
const STEP = 1000;

/**
 * The keys that match a pattern, step by step: it looks at every key there is, so it is for what is seldom done. A key
 * may come twice; one that is there all the time comes at least once.
 */
export async function* scanKeys(redis: RedisConnection, pattern: string): AsyncGenerator<string[]> {
  const nodes: Redis[] = isCluster(redis) ? redis.nodes('master') : [redis];
  for (const node of nodes) {
    let cursor = '0';
    do {
      const [next, found] = await node.scan(cursor, 'MATCH', pattern, 'COUNT', STEP);
      cursor = next;
      yield found;
    } while (cursor !== '0');
  }
}
