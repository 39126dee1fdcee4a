import type { Logger } from '../../src/shared/logger.ts';
import { blockingClientId, unblockClient } from '../topology/blocking.ts';
import { isCluster, isOpen } from '../topology/connections.ts';
import type { RedisConnection } from '../topology/connections.ts';

const BLOCK_MS = 1000;
const READ_COUNT = 1000;
/** A stream nobody waits on is followed this much longer: waiters come and go, and to take a stream up again costs. */
const LINGER_MS = 10_000;
const PAUSE_AFTER_ERROR_MS = 200;
const INTERRUPT_AGAIN_MS = 20;

type Entry = [id: string, fields: string[]];

/** An entry of a stream that is about a job. */
export interface JobEvent {
  /** Of the entry in its stream. */
  id: string;
  jobId: string;
  /** BullMQ's name of it, such as `active` or `completed`; `written` when a handler wrote to the job's own stream. */
  event: string;
  /** When it was added, by Redis' clock (ms epoch). */
  at: number;
}

interface FollowedStream {
  lastId: string;
  users: number;
  /** When its last user left; meaningless while it has users. */
  idleSince: number;
  /** Whether a read has named it yet. */
  read: boolean;
}

export interface EventReaderOptions {
  /** Opens the connection on which the reads block; called at the first use. */
  connect: () => RedisConnection;
  /** A connection that never blocks. */
  redis: RedisConnection;
  logger: Logger;
  /** A followed stream says something of a job. */
  onEvent: (event: JobEvent) => void;
  /** Reads failed and go on now: events may have been missed. */
  onGap: () => void;
}

/**
 * Follows streams of events, those of BullMQ's queues and Waggle's own, with one blocking read on one connection.
 *
 *   idle ──follow()──▶ reading ──no stream left──▶ idle          close() from anywhere ──▶ closed
 *
 * While it reads, a stream that is added interrupts the read, so that the next one includes it.
 */
export class EventReader {
  readonly #options: EventReaderOptions;
  readonly #streams = new Map<string, FollowedStream>();
  #connection: RedisConnection | undefined;
  #clientId: number | undefined;
  #loop: Promise<void> | undefined;
  #closed = false;
  #announceClose: () => void = () => undefined;
  readonly #whenClosed = new Promise<void>((resolve) => (this.#announceClose = resolve));

  constructor(options: EventReaderOptions) {
    this.#options = options;
  }

  /**
   * Starts to follow a stream. Every event that is added after this resolves will be seen, but for those that the
   * stream's trimming or an outage swallowed.
   * @returns a function that gives the stream up again
   */
  async follow(stream: string): Promise<() => void> {
    let followed = this.#streams.get(stream);
    if (followed === undefined) {
      const lastId = await this.#lastId(stream);
      followed = this.#streams.get(stream) ?? this.#take(stream, lastId);
    }
    const taken = followed;
    taken.users += 1;
    if (!this.#closed) this.#loop ??= this.#run();
    return () => {
      taken.users -= 1;
      taken.idleSince = Date.now();
    };
  }

  /** Undefined before anything was followed. */
  get isOpen(): boolean | undefined {
    return this.#connection === undefined ? undefined : isOpen(this.#connection);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#announceClose();
    this.#connection?.disconnect();
    await this.#loop;
  }

  #take(stream: string, lastId: string): FollowedStream {
    const followed = { lastId, users: 0, idleSince: Date.now(), read: false };
    this.#streams.set(stream, followed);
    this.#interruptUntilRead(stream, followed);
    return followed;
  }

  async #lastId(stream: string): Promise<string> {
    const [last] = await this.#options.redis.xrevrange(stream, '+', '-', 'COUNT', 1);
    return last?.[0] ?? '0-0';
  }

  /**
   * Again and again, since an interruption that arrives just before the read does is lost. A server that refuses CLIENT
   * costs a new stream up to one blocking time, no more.
   */
  #interruptUntilRead(stream: string, followed: FollowedStream): void {
    if (this.#closed || followed.read || this.#clientId === undefined) return;
    unblockClient(this.#options.redis, stream, this.#clientId).catch(() => undefined);
    setTimeout(() => this.#interruptUntilRead(stream, followed), INTERRUPT_AGAIN_MS).unref();
  }

  async #run(): Promise<void> {
    let failed = false;
    while (!this.#closed && this.#streams.size > 0) {
      try {
        const connection = await this.#connected();
        if (failed) this.#options.onGap();
        failed = false;
        await this.#readOnce(connection);
        this.#dropIdle();
      } catch (error) {
        if (this.#closed) break;
        failed = true;
        this.#options.logger.debug({ err: error }, 'event reader');
        await new Promise((resolve) => setTimeout(resolve, PAUSE_AFTER_ERROR_MS));
      }
    }
    this.#loop = undefined;
  }

  async #connected(): Promise<RedisConnection> {
    this.#connection ??= this.#options.connect();
    const connection = this.#connection;
    // A cluster that is closed while it connects never says how that ended.
    if (connection.status === 'wait') await Promise.race([connection.connect(), this.#whenClosed]);
    if (connection.status !== 'ready') throw new Error('event connection is not ready');
    await this.#askClientId(connection);
    return connection;
  }

  /**
   * A reconnect makes another client of it, and a read may be interrupted at any time: asked each time it may be new. In
   * a cluster that is always, since the streams may be another node's by now.
   */
  async #askClientId(connection: RedisConnection): Promise<void> {
    const [stream] = this.#streams.keys();
    if (stream === undefined || (this.#clientId !== undefined && !isCluster(connection))) return;
    if (!isCluster(connection)) connection.once('close', () => (this.#clientId = undefined));
    this.#clientId = await blockingClientId(connection, stream).catch(() => undefined);
  }

  async #readOnce(connection: RedisConnection): Promise<void> {
    const names = [...this.#streams.keys()];
    const ids = [...this.#streams.values()].map((followed) => {
      followed.read = true;
      return followed.lastId;
    });
    const batches = await connection.xread(
      'COUNT',
      READ_COUNT,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      ...names,
      ...ids,
    );
    for (const [stream, entries] of batches ?? []) this.#deliver(stream, entries);
  }

  #deliver(stream: string, entries: Entry[]): void {
    for (const entry of entries) {
      const event = jobEvent(entry);
      if (event !== undefined) this.#options.onEvent(event);
    }
    const followed = this.#streams.get(stream);
    const last = entries.at(-1);
    if (followed && last) followed.lastId = last[0];
  }

  #dropIdle(): void {
    const now = Date.now();
    for (const [stream, { users, idleSince }] of this.#streams) {
      if (users === 0 && now - idleSince > LINGER_MS) this.#streams.delete(stream);
    }
  }
}

/** The fields are a flat list of names and values, as Redis returns it. */
function jobEvent([id, fields]: Entry): JobEvent | undefined {
  let event: string | undefined;
  let jobId: string | undefined;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i] === 'event') event = fields[i + 1];
    else if (fields[i] === 'jobId') jobId = fields[i + 1];
  }
  return event === undefined || jobId === undefined
    ? undefined
    : { id, jobId, event, at: Number.parseInt(id, 10) };
}
