import { WaggleError } from '../../src/shared/errors.ts';
import type { Logger } from '../../src/shared/logger.ts';
import { isCluster } from '../topology/connections.ts';
import type { RedisConnection } from '../topology/connections.ts';
import type { Topology } from '../topology/topology.ts';
import { EventReader } from './event-reader.ts';

/** How often a share of the waiting jobs is looked at without an event, so that a lost one delays and never hangs. */
const RECHECK_EVERY_MS = 500;
const RECHECK_MOST = 500;
/** A job is left alone by the recheck until it has been waited for this long. */
const RECHECK_AFTER_MS = 2000;

export type WaitOutcome = 'ended' | 'timeout' | 'aborted';

interface Waiter {
  /** Redis key of the job. */
  key: string;
  since: number;
  end: (outcome: WaitOutcome) => void;
  fail: (error: Error) => void;
}

export interface WaitersOptions {
  topology: Topology;
  logger: Logger;
  connect: () => RedisConnection;
}

/**
 * Who waits for which job. One timer, one blocking read and one map entry per waiter, whatever their number: events end
 * a wait, and a slow round over all waiting jobs catches what events missed.
 */
export class Waiters {
  readonly #options: WaitersOptions;
  readonly #byJob = new Map<string, Set<Waiter>>();
  readonly #readers = new Map<number, EventReader>();
  #recheckTimer: NodeJS.Timeout | undefined;
  #rechecking = false;
  /** The ids still to be looked at in the current round. */
  #round: string[] = [];
  #closed = false;

  constructor(options: WaitersOptions) {
    this.#options = options;
  }

  /** How many calls wait at the moment. */
  get size(): number {
    let size = 0;
    for (const waiters of this.#byJob.values()) size += waiters.size;
    return size;
  }

  /**
   * Waits until a job ends. `isEnded` is asked once after the subscription stands, so that an end before it is seen too.
   * @throws WaggleError shutting_down when the process closes
   */
  async wait(
    job: { id: string; shard: number; queue: string },
    timeoutMs: number,
    signal: AbortSignal | undefined,
    isEnded: () => Promise<boolean>,
  ): Promise<WaitOutcome> {
    if (this.#closed) throw shuttingDown();
    if (signal?.aborted) return 'aborted';
    const queueKey = `${this.#options.topology.prefix(job.shard)}:${job.queue}`;
    const unfollow = await this.#reader(job.shard).follow(`${queueKey}:events`);
    try {
      return await this.#untilEnd(job.id, `${queueKey}:${job.id}`, timeoutMs, signal, isEnded);
    } finally {
      unfollow();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#recheckTimer);
    for (const waiters of [...this.#byJob.values()]) {
      for (const waiter of [...waiters]) waiter.fail(shuttingDown());
    }
    await Promise.all([...this.#readers.values()].map((reader) => reader.close()));
  }

  #untilEnd(
    id: string,
    key: string,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    isEnded: () => Promise<boolean>,
  ): Promise<WaitOutcome> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#remove(id, waiter);
        act();
      };
      const waiter: Waiter = {
        key,
        since: Date.now(),
        end: (outcome) => settle(() => resolve(outcome)),
        fail: (error) => settle(() => reject(error)),
      };
      const onAbort = (): void => waiter.end('aborted');
      const timer = setTimeout(() => waiter.end('timeout'), timeoutMs);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#add(id, waiter);
      isEnded().then((ended) => ended && waiter.end('ended'), waiter.fail);
    });
  }

  #add(id: string, waiter: Waiter): void {
    const waiters = this.#byJob.get(id);
    if (waiters) waiters.add(waiter);
    else this.#byJob.set(id, new Set([waiter]));
    this.#recheckTimer ??= setInterval(() => void this.#recheck(), RECHECK_EVERY_MS).unref();
  }

  #remove(id: string, waiter: Waiter): void {
    const waiters = this.#byJob.get(id);
    waiters?.delete(waiter);
    if (waiters?.size === 0) this.#byJob.delete(id);
    if (this.#byJob.size === 0) {
      clearInterval(this.#recheckTimer);
      this.#recheckTimer = undefined;
      this.#round = [];
    }
  }

  #end(id: string): void {
    for (const waiter of [...(this.#byJob.get(id) ?? [])]) waiter.end('ended');
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
        onEnd: (id) => this.#end(id),
        onGap: () => this.#recheckSoon(),
      });
      this.#readers.set(index, reader);
    }
    return reader;
  }

  /** After an outage every job may have ended unseen: look at all of them in the next rounds, however young. */
  #recheckSoon(): void {
    for (const waiters of this.#byJob.values()) {
      for (const waiter of waiters) waiter.since = 0;
    }
    this.#round = [...this.#byJob.keys()];
  }

  async #recheck(): Promise<void> {
    if (this.#rechecking) return;
    this.#rechecking = true;
    try {
      if (this.#round.length === 0) this.#round = [...this.#byJob.keys()];
      const ids = this.#round.splice(0, RECHECK_MOST);
      await Promise.all(ids.map((id) => this.#recheckJob(id)));
    } catch (error) {
      this.#options.logger.debug({ err: error }, 'recheck of awaited jobs');
    } finally {
      this.#rechecking = false;
    }
  }

  async #recheckJob(id: string): Promise<void> {
    const [waiter] = this.#byJob.get(id) ?? [];
    if (waiter === undefined || Date.now() - waiter.since < RECHECK_AFTER_MS) return;
    const [timestamp, finishedOn] = await this.#options.topology.redis.hmget(
      waiter.key,
      'timestamp',
      'finishedOn',
    );
    if (finishedOn != null || timestamp == null) this.#end(id);
  }
}

function shuttingDown(): WaggleError {
  return new WaggleError('shutting_down', 'The server is shutting down.', { retryAfterMs: 1000 });
}
