import type { Logger } from '../../src/shared/logger.ts';
import type { ShardSource } from './source.ts';

interface Held {
  source: ShardSource;
  jobId: string;
  token: string;
  /** Monotonic ms at which the lock was last known to be ours for a whole lock time. */
  renewedAt: number;
  onLost: () => void;
}

/** Gives the lock up to expiry or to another owner; nothing is lost after this. */
export type ReleaseLock = () => void;

/**
 * Renews the locks of all running jobs of the process, one command per source. A lock is lost when Redis says so, and
 * also when it could not be renewed for a whole lock time: by then another worker may run the job.
 */
export class LockKeeper {
  readonly #lockMs: number;
  readonly #logger: Logger;
  readonly #held = new Set<Held>();
  readonly #renewing = new Set<ShardSource>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { lockMs: number; logger: Logger }) {
    this.#lockMs = options.lockMs;
    this.#logger = options.logger;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#tick(), Math.max(this.#lockMs / 6, 50));
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Keeps a fresh lock until released. `onLost` is called at most once, and never after the release. */
  hold(source: ShardSource, jobId: string, token: string, onLost: () => void): ReleaseLock {
    const held: Held = { source, jobId, token, renewedAt: performance.now(), onLost };
    this.#held.add(held);
    return () => this.#held.delete(held);
  }

  #tick(): void {
    const now = performance.now();
    const due: Held[] = [];
    for (const held of this.#held) {
      const age = now - held.renewedAt;
      if (age >= this.#lockMs) this.#lose(held);
      else if (age >= this.#lockMs / 3) due.push(held);
    }
    for (const source of new Set(due.map((held) => held.source))) {
      void this.#renew(
        source,
        due.filter((held) => held.source === source),
      );
    }
  }

  async #renew(source: ShardSource, locks: Held[]): Promise<void> {
    // While Redis is away a renewal waits for it; another one behind it would change nothing.
    if (this.#renewing.has(source)) return;
    this.#renewing.add(source);
    const sentAt = performance.now();
    try {
      const ids = locks.map((held) => held.jobId);
      const tokens = locks.map((held) => held.token);
      const refused = new Set(await source.extendJobLocks(ids, tokens, this.#lockMs));
      for (const held of locks) {
        if (refused.has(held.jobId)) this.#lose(held);
        else held.renewedAt = sentAt;
      }
    } catch (error) {
      this.#logger.warn(
        { err: error, queue: source.name, shard: source.shard },
        'locks could not be renewed',
      );
    } finally {
      this.#renewing.delete(source);
    }
  }

  #lose(held: Held): void {
    if (this.#held.delete(held)) held.onLost();
  }
}
