import type { RedisConnection } from './connections.ts';
import { Keys } from './keys.ts';

/** Redis is there, but not in a state in which Waggle may run. The message says what to change. */
export class RedisGuardError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'RedisGuardError';
  }
}

/**
 * Refuses a Redis that could lose jobs or that was set up for another number of shards.
 * @throws RedisGuardError
 */
export async function guardRedis(
  redis: RedisConnection,
  options: { shards: number; keys?: Keys },
): Promise<void> {
  await guardEviction(redis);
  await guardShards(redis, options.shards, options.keys ?? new Keys());
}

async function guardEviction(redis: RedisConnection): Promise<void> {
  const policy = await maxmemoryPolicy(redis);
  if (policy === undefined || policy === 'noeviction') return;
  throw new RedisGuardError(
    `Redis has maxmemory-policy ${policy}: when memory runs out it would throw jobs away without a word. ` +
      'Set it to noeviction (redis.conf: "maxmemory-policy noeviction", or CONFIG SET maxmemory-policy noeviction; ' +
      'on a managed server: its parameter group) and start again.',
  );
}

/** Undefined where the server tells nobody. */
async function maxmemoryPolicy(redis: RedisConnection): Promise<string | undefined> {
  try {
    const [, policy] = await redis.config('GET', 'maxmemory-policy');
    if (policy !== undefined) return policy;
  } catch (error) {
    if (!isRefusedCommand(error)) throw error;
  }
  // Managed servers forbid CONFIG; INFO tells the same.
  return /^maxmemory_policy:(\S+)/m.exec(await redis.info('memory'))?.[1];
}

function isRefusedCommand(error: unknown): boolean {
  return error instanceof Error && /NOPERM|unknown command|not allowed|disabled/i.test(error.message);
}

async function guardShards(redis: RedisConnection, shards: number, keys: Keys): Promise<void> {
  await redis.set(keys.shards, shards, 'NX');
  const stored = Number(await redis.get(keys.shards));
  if (stored === shards) return;
  throw new RedisGuardError(
    `This Redis holds ${stored} shards, but WAGGLE_SHARDS is ${shards}: most tenants' jobs would not be found. ` +
      `Start with WAGGLE_SHARDS=${stored}. To reshard: stop whatever enqueues, let the workers finish all jobs, stop ` +
      `every process, delete the key ${keys.shards}, and start everything with WAGGLE_SHARDS=${shards}. ` +
      'Finished jobs and the settings of tenants stay in their old shards: set tenants again.',
  );
}
