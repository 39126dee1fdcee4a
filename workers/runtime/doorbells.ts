import { isCluster, isOpen } from '../../queues/topology/connections.ts';
import type { RedisConnection } from '../../queues/topology/connections.ts';
import type { Logger } from '../../src/shared/logger.ts';
import { Doorbell } from './doorbell.ts';
import type { Marker } from './doorbell.ts';
import type { ShardSource } from './source.ts';

export interface DoorbellsOptions {
  sources: readonly Pick<ShardSource, 'shard' | 'markerKey'>[];
  /** The command connection; those that block are made like it. */
  commands: RedisConnection;
  /** The marker keys to listen at, as of now. */
  listenTo: () => readonly string[];
  onRing: (marker: Marker) => boolean;
  logger: Logger;
}

/**
 * All doorbells of a worker, each with a connection of its own: one where there is one server; in a cluster one for each
 * shard, because a command that blocks may name keys of one slot only.
 */
export class Doorbells {
  readonly #bells: Doorbell[] = [];
  readonly #blocking: RedisConnection[] = [];
  readonly #byKey = new Map<string, Doorbell>();

  constructor(options: DoorbellsOptions) {
    const { sources, commands } = options;
    const shards = isCluster(commands) ? [...new Set(sources.map(({ shard }) => shard))] : [null];
    for (const shard of shards) {
      const keys = sources
        .filter((source) => shard === null || source.shard === shard)
        .map(({ markerKey }) => markerKey);
      this.#hang(new Set(keys), options);
    }
  }

  start(): void {
    for (const bell of this.#bells) bell.start();
  }

  /** To be called when `listenTo` may give another answer. */
  changed(): void {
    for (const bell of this.#bells) bell.changed();
  }

  /** Tells every process that the source of this marker key has work now. */
  ring(key: string): void {
    this.#byKey.get(key)?.ring(key);
  }

  /** Ends listening. A marker that was taken meanwhile is put back. */
  async stop(): Promise<void> {
    await Promise.all(this.#bells.map((bell) => bell.stop()));
  }

  /** Whether work is heard of: false while any of the connections is lost. */
  get isOpen(): boolean {
    return this.#blocking.every(isOpen);
  }

  disconnect(): void {
    for (const connection of this.#blocking) connection.disconnect();
  }

  #hang(keys: ReadonlySet<string>, { commands, listenTo, onRing, logger }: DoorbellsOptions): void {
    const blocking = openBlocking(commands, logger);
    const bell = new Doorbell({
      blocking,
      commands,
      listenTo: () => listenTo().filter((key) => keys.has(key)),
      onRing,
      logger,
    });
    this.#blocking.push(blocking);
    this.#bells.push(bell);
    for (const key of keys) this.#byKey.set(key, bell);
  }
}

/** It resends no command whose connection was lost; see {@link Doorbell}. */
function openBlocking(commands: RedisConnection, logger: Logger): RedisConnection {
  const blocking = isCluster(commands)
    ? commands.duplicate([], { retryDelayOnFailover: 0 })
    : commands.duplicate({ autoResendUnfulfilledCommands: false });
  const report = (error: Error): void => logger.debug({ err: error }, 'redis connection for listening');
  if (isCluster(blocking)) blocking.on('error', report);
  else blocking.on('error', report);
  // It connects by itself from now on; the first failure is reported through the listener.
  blocking.connect().catch(() => undefined);
  return blocking;
}
