import type { Cluster } from 'ioredis';
import { isCluster } from './connections.ts';
import type { RedisConnection } from './connections.ts';

/**
 * The id by which {@link unblockClient} ends a command that blocks on this connection at `key`. It is worth as much as
 * the connection: after a reconnect, and in a cluster after the key has moved to another node, it names nobody, or
 * somebody else, who then blocks once more.
 */
export async function blockingClientId(blocking: RedisConnection, key: string): Promise<number> {
  if (!isCluster(blocking)) return blocking.client('ID');
  // Every node counts its own clients, so the question has to go where the command will.
  return Number(await onNodeOf(blocking, key, 'ID'));
}

/** @returns whether the client was blocked; it may be on its way there or back */
export async function unblockClient(redis: RedisConnection, key: string, clientId: number): Promise<boolean> {
  const freed = isCluster(redis)
    ? await onNodeOf(redis, key, 'UNBLOCK', clientId)
    : await redis.client('UNBLOCK', clientId);
  return freed === 1;
}

/** Sends CLIENT to the node that holds `key`, over the connection on which commands for that key go there. */
async function onNodeOf(cluster: Cluster, key: string, ...subcommand: (string | number)[]): Promise<unknown> {
  const replies = await cluster
    .multi()
    .exists(key)
    .call('CLIENT', ...subcommand)
    .exec();
  return replies?.[1]?.[1];
}
