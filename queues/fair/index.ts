import { createIORedisClient, isIRedisClient } from 'bullmq';
import type { BackendFactory, IRedisClient, JobsOptions, QueueBaseOptions, RedisConnection } from 'bullmq';
import { FairQueueBackend } from './backend.ts';
import type { KeyStrategy, RedisQueueOptions } from './backend.ts';
import { fairConnection } from './connection.ts';
import type { UnprioritizedPlace } from './scripts.ts';

export { FairQueueBackend, KeyBusyError } from './backend.ts';
export type { Explanation } from './backend.ts';
export type { GroupLimits, GroupRate, QueueLimits } from './group-limits.ts';

/** The option by which a job joins a group; a job without it belongs to the group of all ungrouped jobs. */
export interface GroupOptions {
  id: string;
  /** Jobs of a group with the same key run one after the other in order of arrival, `keyLimit` (1) at a time. */
  key?: string;
  keyLimit?: number;
  /** `queue` unless given; `reject` throws {@link KeyBusyError}. The last two need {@link FairQueueBackend.getDueCancels}. */
  keyStrategy?: KeyStrategy;
}

/** BullMQ's job options with a group. */
export type FairJobsOptions = JobsOptions & { group?: GroupOptions };

export interface FairBackendOptions {
  /** Whether jobs without a priority run before (BullMQ's rule, the default) or after their group's prioritized ones. */
  unprioritized?: UnprioritizedPlace;
}

/**
 * A backend factory for any BullMQ class: `new Queue(name, opts, createFairBackend())`, the same for Worker,
 * FlowProducer and QueueEvents. All processes on a queue must use it, with the same options.
 *
 * Groups with waiting jobs share the workers in proportion to their weights, whatever the size of their backlogs.
 */
export function createFairBackend(options: FairBackendOptions = {}): BackendFactory<FairQueueBackend> {
  const unprioritized = options.unprioritized ?? 'first';
  const Connection = fairConnection(unprioritized);
  return (name, opts, { blocking = false, withBlockingConnection = false } = {}) =>
    new FairQueueBackend(
      connect(Connection, opts, blocking),
      name,
      opts,
      withBlockingConnection ? connectBlocking(Connection, name, opts) : undefined,
      unprioritized,
    );
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
