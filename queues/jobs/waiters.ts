import { WaggleError } from '../../src/shared/errors.ts';
import type { Logger } from '../../src/shared/logger.ts';
import type { Topology } from '../topology/topology.ts';
import type { JobEvent } from './event-reader.ts';
import { queueEvents } from './job-events.ts';
import type { JobEvents } from './job-events.ts';
import { Pace } from './pace.ts';

/** How often a share of the waiting jobs is looked at without an event, so that a lost one delays and never hangs. */
const RECHECK_EVERY_MS = 500;
const RECHECK_MOST = 500;
/** A job is left alone by the recheck until it has been waited for this long. */
const RECHECK_AFTER_MS = 2000;
/** Waits that end in one turn of the event loop: each is followed by reads and an answer, a millisecond of work. */
const ENDED_AT_ONCE = 32;

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
  events: JobEvents;
}

/**
 * Who waits for which job. One timer and one map entry per waiter, whatever their number: events end a wait, and a slow
 * round over all waiting jobs catches what events missed.
 */
export class Waiters {
  readonly #options: WaitersOptions;
  readonly #byJob = new Map<string, Set<Waiter>>();
  readonly #pace = new Pace(ENDED_AT_ONCE);
  #recheckTimer: NodeJS.Timeout | undefined;
  #rechecking = false;
  /** The ids still to be looked at in the current round. */
  #round: string[] = [];
  #closed = false;

  constructor(options: WaitersOptions) {
    this.#options = options;
    options.events.listen({ onEvent: (event) => this.#heard(event), onGap: () => this.#recheckSoon() });
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
    const { topology, events } = this.#options;
    const unfollow = await events.follow(job.shard, [queueEvents(topology, job.shard, job.queue)]);
    try {
      const key = `${topology.prefix(job.shard)}:${job.queue}:${job.id}`;
      return await this.#untilEnd(job.id, key, timeoutMs, signal, isEnded);
    } finally {
      unfollow();
    }
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#recheckTimer);
    for (const waiters of [...this.#byJob.values()]) {
      for (const waiter of [...waiters]) waiter.fail(shuttingDown());
    }
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
      const timer = setTimeout(() => this.#pace.run(() => waiter.end('timeout')), timeoutMs);
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

  #heard({ jobId, event }: JobEvent): void {
    if (event === 'completed' || event === 'failed' || event === 'removed') this.#end(jobId);
  }

  #end(id: string): void {
    for (const waiter of this.#byJob.get(id) ?? []) this.#pace.run(() => waiter.end('ended'));
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
