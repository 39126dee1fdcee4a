import { createIORedisClient, isIRedisClient } from 'bullmq';
import type { BackendFactory, IRedisClient, JobsOptions, QueueBaseOptions, RedisConnection } from 'bullmq';
import { FairQueueBackend } from './backend.ts';
import type { RedisQueueOptions } from './backend.ts';
import { fairConnection } from './connection.ts';
import type { GroupOptions } from './group-options.ts';
import type { UnprioritizedPlace } from './scripts.ts';

export { FairQueueBackend } from './backend.ts';
export { KeyBusyError } from './group-options.ts';
export { holdWrites } from './held-writes.ts';
export { TurnBatches } from './turn-batches.ts';
export type { Charged } from './charged-jobs.ts';
export type { GroupOptions } from './group-options.ts';
export type { Explanation, GroupCounts } from './backend.ts';
export type { ClosedGate, Gate, GateChange, GateState } from './gates.ts';
export type { GroupLimits, GroupRate, QueueLimits } from './group-limits.ts';

/** BullMQ's job options with a group. */
export type FairJobsOptions = JobsOptions & { group?: GroupOptions };

export interface FairBackendOptions {
  /** Whether jobs without a priority run before (BullMQ's rule, the default) or after their group's prioritized ones. */
  unprioritized?: UnprioritizedPlace;
  /**
   * Whether to keep which jobs of each group failed: `<queue>:fair:failed::<group>`, a sorted set by the jobs' creation. For
   * queues that keep failed jobs until they are removed one by one: `removeOnFail` leaves its entries there.
   */
  listsFailed?: boolean;
}

/**
 * A backend factory for any BullMQ class: `new Queue(name, opts, createFairBackend())`, the same for Worker,
 * FlowProducer and QueueEvents. All processes on a queue must use it, with the same options.
 *
 * Groups with waiting jobs share the workers in proportion to their weights, whatever the size of their backlogs.
 */
export function createFairBackend(options: FairBackendOptions = {}): BackendFactory<FairQueueBackend> {
  const { unprioritized = 'first', listsFailed = false } = options;
  return (name, opts, { blocking = false, withBlockingConnection = false } = {}) => {
    const rules = { unprioritized, listsFailed, guarded: clientOf(opts)?.isCluster === true };
    const Connection = fairConnection(rules);
    return new FairQueueBackend(
      connect(Connection, opts, blocking),
      name,
      opts,
      withBlockingConnection ? connectBlocking(Connection, name, opts) : undefined,
      rules,
    );
  };
}

/** The main connection: a caller's client is shared, but for a consumer that blocks on it, which gets a copy. */
function connect(
  Connection: typeof RedisConnection,
  opts: QueueBaseOptions,
  blocking: boolean,
): RedisConnection {
  const client = clientOf(opts);
  return new Connection(client && blocking ? client.duplicate() : opts.connection, {
    shared: Boolean(client) && !blocking,
    blocking,
    ...connectionFlags(opts),
  });
}

/** The connection on which a worker waits for the marker, named as BullMQ names it so that getWorkers finds it. */
function connectBlocking(
  Connection: typeof RedisConnection,
  name: string,
  opts: RedisQueueOptions & { name?: string },
): RedisConnection {
  const suffix = opts.name ? `:w:${opts.name}` : '';
  const connectionName = `${opts.prefix ?? 'bull'}:${Buffer.from(name).toString('base64')}${suffix}`;
  const client = clientOf(opts);
  return new Connection(
    client ? client.duplicate({ connectionName }) : { ...opts.connection, connectionName },
    { shared: false, blocking: true, ...connectionFlags(opts) },
  );
}

function connectionFlags(opts: QueueBaseOptions): {
  skipVersionCheck?: boolean;
  skipWaitingForReady?: boolean;
} {
  return {
    ...(opts.skipVersionCheck === undefined ? {} : { skipVersionCheck: opts.skipVersionCheck }),
    ...(opts.skipWaitingForReady === undefined ? {} : { skipWaitingForReady: opts.skipWaitingForReady }),
  };
}

/** The caller's own client, adapted to BullMQ's interface; undefined when `connection` holds mere options. */
function clientOf(opts: QueueBaseOptions): IRedisClient | undefined {
  const connection: unknown = opts.connection;
  if (isIRedisClient(connection)) return connection;
  if (typeof (connection as { defineCommand?: unknown } | undefined)?.defineCommand === 'function') {
    return createIORedisClient(connection as Parameters<typeof createIORedisClient>[0]);
  }
  return undefined;
}
