import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { RedisConnection } from '../topology/connections.ts';

/** Far longer than a round; one that dies in its round keeps the others waiting for so long. */
const TURN_MS = 2000;
const ASK_AGAIN_MS = 10;

/**
 * Runs `body` when nobody else is in the middle of his: what a round has taken from one shard and not yet given to another
 * is in its memory alone, and would be lost if another took over then. Waits no longer than it takes until one that does
 * not end is taken for dead; then two may run at once, and the fencing number decides.
 */
export async function inTurn<T>(redis: RedisConnection, key: string, body: () => Promise<T>): Promise<T> {
  const own = randomUUID();
  while ((await redis.set(key, own, 'PX', TURN_MS, 'NX')) !== 'OK') await delay(ASK_AGAIN_MS);
  try {
    return await body();
  } finally {
    // Should it be another's by now, his round can at worst be overtaken as well.
    if ((await redis.get(key)) === own) await redis.del(key);
  }
}
