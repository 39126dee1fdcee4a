import type { Logger } from '../../src/shared/logger.ts';
import { isCluster } from '../topology/connections.ts';
import type { RedisConnection } from '../topology/connections.ts';
import type { Topology } from '../topology/topology.ts';
import { EventReader } from './event-reader.ts';
import type { JobEvent } from './event-reader.ts';

export interface JobEventsOptions {
  topology: Topology;
  logger: Logger;
  /** Opens a connection on which reads may block. */
  connect: () => RedisConnection;
}

export interface JobEventsListener {
  onEvent(event: JobEvent): void;
  /** Events may have been missed. */
  onGap(): void;
}

/** What happens to jobs, as it happens: one reader for everybody in the process who wants to know. */
export class JobEvents {
  readonly #options: JobEventsOptions;
  readonly #listeners: JobEventsListener[] = [];
  readonly #readers = new Map<number, EventReader>();

  constructor(options: JobEventsOptions) {
    this.#options = options;
  }

  /** Hears every event of every stream that anybody follows, so it must tell at once whether one matters. */
  listen(listener: JobEventsListener): void {
    this.#listeners.push(listener);
  }

  /**
   * Follows streams of a shard. Every event that is added after this resolves is heard, but for those that trimming or an
   * outage swallowed.
   * @returns a function that gives them up again
   */
  async follow(shard: number, streams: readonly string[]): Promise<() => void> {
    const reader = this.#reader(shard);
    const unfollow = await Promise.all(streams.map((stream) => reader.follow(stream)));
    return () => unfollow.forEach((giveUp) => giveUp());
  }

  /** Whether what is followed can be read: false while any reader in use is cut off, nothing while none is in use. */
  connections(): { events?: boolean } {
    const open = [...this.#readers.values()].flatMap((reader) => reader.isOpen ?? []);
    return open.length === 0 ? {} : { events: open.every(Boolean) };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#readers.values()].map((reader) => reader.close()));
  }

  /** In a cluster a read may name streams of one slot only, which are those of one shard. */
  #reader(shard: number): EventReader {
    const { topology, logger, connect } = this.#options;
    const index = isCluster(topology.redis) ? shard : 0;
    let reader = this.#readers.get(index);
    if (reader === undefined) {
      reader = new EventReader({
        connect,
        redis: topology.redis,
        logger,
        onEvent: (event) => this.#tell((listener) => listener.onEvent(event)),
        onGap: () => this.#tell((listener) => listener.onGap()),
      });
      this.#readers.set(index, reader);
    }
    return reader;
  }

  #tell(what: (listener: JobEventsListener) => void): void {
    for (const listener of this.#listeners) what(listener);
  }
}

/** The stream in which BullMQ says what happens in a queue. */
export function queueEvents(topology: Topology, shard: number, queue: string): string {
  return `${topology.prefix(shard)}:${queue}:events`;
}
