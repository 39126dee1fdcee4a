import type { UsageBatch, UsageBook } from '../../queues/usage/book.ts';
import { Tally } from '../../queues/usage/tally.ts';
import { newUlid } from '../../src/shared/ids.ts';
import { WaggleError } from '../../src/shared/errors.ts';
import type { Logger } from '../../src/shared/logger.ts';

export interface UsageAccountOptions {
  shards: readonly number[];
  book: Pick<UsageBook, 'add'>;
  logger: Logger;
}

const FLUSH_MS = 1000;
/** For one script: a millisecond or two of Redis. A busy tenant's minute is some eighty counts to read and write. */
const BATCH = { tenants: 50, counts: 400 };

interface ShardAccount {
  readonly shard: number;
  readonly tally: Tally;
  batches: number;
  /** Sent and not answered for; it goes again as it is, because only then Redis can tell that it knows it. */
  unanswered: UsageBatch | null;
}

/**
 * What the tenants of this process's shards use, brought to Redis every second. Memory is bounded, and an outage loses
 * nothing of what was counted before; a process that dies loses its last second.
 */
export class UsageAccount {
  readonly #options: UsageAccountOptions;
  readonly #shards: ReadonlyMap<number, ShardAccount>;
  readonly #sender = newUlid();
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | null = null;

  constructor(options: UsageAccountOptions) {
    this.#options = options;
    this.#shards = new Map(
      options.shards.map((shard) => [shard, { shard, tally: new Tally(), batches: 0, unanswered: null }]),
    );
  }

  /** @param waitMs null when it does not tell how long the tenant's jobs wait for a worker */
  started(shard: number, tenant: string, units: number, waitMs: number | null): void {
    this.#shards.get(shard)?.tally.started(tenant, units, waitMs);
  }

  /** A run is over that took so many units more than at its start. */
  charged(shard: number, tenant: string, units: number): void {
    this.#shards.get(shard)?.tally.charged(tenant, units);
  }

  finished(shard: number, tenant: string, outcome: 'completed' | 'failed'): void {
    this.#shards.get(shard)?.tally.finished(tenant, outcome);
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.flush(), FLUSH_MS);
  }

  /** Ends the flushes with a last one. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#flushing;
    await this.flush();
  }

  /** Brings to Redis what there is. Never rejects: what Redis does not take stays for the next time. */
  flush(): Promise<void> {
    this.#flushing ??= this.#flushAll().finally(() => {
      this.#flushing = null;
    });
    return this.#flushing;
  }

  async #flushAll(): Promise<void> {
    await Promise.all([...this.#shards.values()].map((account) => this.#flushShard(account)));
  }

  async #flushShard(account: ShardAccount): Promise<void> {
    if (account.unanswered !== null && !(await this.#send(account, account.unanswered))) return;
    // What comes meanwhile is for the next flush: a busy worker would never be through.
    for (let due = account.tally.size; due > 0;) {
      const batch = this.#nextBatch(account);
      if (!(await this.#send(account, batch))) return;
      due -= batch.tenants.length;
    }
  }

  /** @returns false when Redis is away, and the batch is to go again */
  async #send(account: ShardAccount, batch: UsageBatch): Promise<boolean> {
    const { book, logger } = this.#options;
    const { shard } = account;
    account.unanswered = batch;
    try {
      await book.add(shard, batch);
    } catch (error) {
      if (isOutage(error)) return false;
      // It would fail the next time as well, and hold up all that comes after it.
      logger.warn({ err: error, shard }, 'usage of tenants could not be booked and is lost');
    }
    account.unanswered = null;
    return true;
  }

  #nextBatch(account: ShardAccount): UsageBatch {
    const tenants = account.tally.take(BATCH);
    return { sender: this.#sender, number: (account.batches += 1), tenants };
  }
}

function isOutage(error: unknown): boolean {
  return error instanceof WaggleError && error.code === 'redis_unavailable';
}
