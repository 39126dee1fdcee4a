import type { Endings } from '../../queues/jobs/endings.ts';
import type { Retention } from '../../queues/jobs/retention.ts';
import type { Purges } from '../../queues/tenants/purge.ts';
import type { WorkerPresence } from '../../queues/topology/presence.ts';
import { isRedisUnavailable } from '../../queues/topology/redis-errors.ts';
import { WaggleError } from '../../src/shared/errors.ts';
import type { Logger } from '../../src/shared/logger.ts';
import type { WorkerMetrics } from '../health/metrics.ts';
import type { Cancel } from './cancel-listener.ts';
import type { ShardSource } from './source.ts';

export interface MaintenanceOptions {
  sources: readonly ShardSource[];
  shards: readonly number[];
  retention: Pick<Retention, 'sweep'>;
  endings: Endings;
  purges: Pick<Purges, 'resume'>;
  presence: WorkerPresence;
  queues: readonly string[];
  workerName: string;
  metrics: Pick<WorkerMetrics, 'stalled' | 'retired'>;
  logger: Logger;
}

const PRESENCE_MS = 5000;
const CANCELS_MS = 1000;
/**
 * Where nothing happened for this long no job is to stop, but such as are heard of. So such a queue is looked at this
 * seldom, for what a lost worker left behind and for what was said while nobody listened.
 */
const QUIET_MS = 5000;
const EXPIRED_AT_ONCE = 200;
const SWEEP_MS = 10_000;
const SWEEP_JOBS = 500;
/** Sweeps in a row, so that removal keeps up with bursts and still leaves Redis to others. */
const MAX_ROUNDS = 10;
/** The same for jobs that are to stop, 100 of a queue at a time: meanwhile no other queue is found to have some. */
const CANCEL_ROUNDS = 100;

/**
 * What every worker does beside running jobs: bring back jobs of lost workers, end those that are to stop
 * or to expire and whose time is over, remove finished ones in time, and tenants that are to go.
 */
export class Maintenance {
  readonly #options: MaintenanceOptions;
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> | null = null;
  #purging: Promise<void> | null = null;
  #presenceTimer: NodeJS.Timeout | undefined;
  #cancelTimer: NodeJS.Timeout | undefined;
  #cancelling: Promise<void> | null = null;
  #expiring: Promise<void> | null = null;
  readonly #heardAt = new Map<ShardSource, number>();
  #sweptAllAt = 0;
  #stopped = false;

  constructor(options: MaintenanceOptions) {
    this.#options = options;
    for (const source of options.sources) this.#watch(source);
  }

  start(): void {
    for (const source of this.#options.sources) void source.startStalledCheckTimer();
    // Not all processes at the same moment.
    const ms = SWEEP_MS * (0.75 + Math.random() / 2);
    this.#timer = setInterval(() => {
      this.#sweeping ??= this.#sweep();
      this.#purging ??= this.#purge();
    }, ms);
    this.#announce();
    this.#presenceTimer = setInterval(() => this.#announce(), PRESENCE_MS);
    this.#cancelTimer = setInterval(() => {
      this.#expiring ??= this.#expire();
      if (this.#cancelling !== null) return;
      const due = this.#dueForCancels();
      if (due.length > 0) this.#cancelling = this.#endCancelled(due);
    }, CANCELS_MS);
  }

  /** A job of the queue is to stop: whether it has is looked at soon, and when its grace is over. */
  heardCancel({ shard, queue, graceMs }: Cancel): void {
    for (const source of this.#options.sources) {
      if (source.shard !== shard || source.name !== queue) continue;
      this.#heardAt.set(source, Date.now());
      setTimeout(() => this.#heardAt.set(source, Date.now()), graceMs).unref();
    }
  }

  /** Stops the sweeps; the checks for stalled jobs end with their sources. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    clearInterval(this.#cancelTimer);
    clearInterval(this.#presenceTimer);
    const { presence, shards, queues, workerName } = this.#options;
    const leave = shards.map((shard) => presence.withdraw(shard, queues, workerName));
    await Promise.allSettled([this.#sweeping, this.#purging, this.#cancelling, this.#expiring, ...leave]);
  }

  /** So that whoever asks why a job does not run can be told whether anybody is there to run it. */
  #announce(): void {
    const { presence, shards, queues, workerName, logger } = this.#options;
    for (const shard of shards) {
      presence.announce(shard, queues, workerName).catch((error: unknown) => {
        logger.debug({ err: error, shard }, 'worker could not be announced');
      });
    }
  }

  /**
   * One after the other: there is hardly ever anything to do, and each costs Redis a call. Where there was something, there
   * may be more, as when thousands of jobs were superseded by one.
   */
  async #endCancelled(sources: readonly ShardSource[]): Promise<void> {
    let busy = sources;
    for (let round = 0; round < CANCEL_ROUNDS && busy.length > 0; round += 1) {
      const found: ShardSource[] = [];
      for (const source of busy) if (await this.#endCancelledOf(source)) found.push(source);
      busy = found;
    }
    this.#cancelling = null;
  }

  /** @returns whether any was ended */
  async #endCancelledOf({ shard, name }: ShardSource): Promise<boolean> {
    if (this.#stopped) return false;
    try {
      return (await this.#options.endings.sweep(shard, name)) > 0;
    } catch (error) {
      this.#complain(error, { queue: name, shard }, 'cancelled jobs could not be ended');
      return false;
    }
  }

  async #expire(): Promise<void> {
    for (const shard of this.#options.shards) {
      await this.#expireIn(shard).catch((error: unknown) => {
        this.#complain(error, { shard }, 'jobs could not expire');
      });
    }
    this.#expiring = null;
  }

  async #expireIn(shard: number): Promise<void> {
    for (let round = 0; round < MAX_ROUNDS && !this.#stopped; round += 1) {
      if ((await this.#options.endings.expire(shard, EXPIRED_AT_ONCE)) < EXPIRED_AT_ONCE) return;
    }
  }

  /** Of a Redis that is away others complain. */
  #complain(error: unknown, where: object, message: string): void {
    const level = isRedisUnavailable(error) || error instanceof WaggleError ? 'debug' : 'warn';
    this.#options.logger[level]({ err: error, ...where }, message);
  }

  #dueForCancels(): readonly ShardSource[] {
    const now = Date.now();
    if (now - this.#sweptAllAt >= QUIET_MS) {
      this.#sweptAllAt = now;
      return this.#options.sources;
    }
    return this.#options.sources.filter(
      (source) => now - Math.max(source.claimedAt, this.#heardAt.get(source) ?? 0) < QUIET_MS,
    );
  }

  async #sweep(): Promise<void> {
    for (const shard of this.#options.shards) await this.#sweepShard(shard);
    this.#sweeping = null;
  }

  async #sweepShard(shard: number): Promise<void> {
    try {
      for (let round = 0; round < MAX_ROUNDS && !this.#stopped; round += 1) {
        const removed = await this.#options.retention.sweep(shard, SWEEP_JOBS);
        this.#options.metrics.retired.inc(removed);
        if (removed < SWEEP_JOBS) return;
      }
    } catch (error) {
      this.#options.logger.warn({ err: error, shard }, 'finished jobs could not be removed');
    }
  }

  /** Goes on with tenants that are being removed. Each takes as long as it takes; other sweeps do not wait for it. */
  async #purge(): Promise<void> {
    for (const shard of this.#options.shards) {
      await this.#options.purges
        .resume(shard, () => !this.#stopped)
        .then((removed) => this.#options.metrics.retired.inc(removed))
        .catch((error: unknown) => {
          this.#options.logger.warn({ err: error, shard }, 'a tenant could not be removed');
        });
    }
    this.#purging = null;
  }

  #watch(source: ShardSource): void {
    const { logger, metrics } = this.#options;
    const where = { queue: source.name, shard: source.shard };
    source.on('stalled', (jobId) => {
      metrics.stalled.inc();
      logger.warn({ ...where, jobId }, 'the worker of a job was lost; the job is back in its queue');
    });
    source.on('error', (error) => {
      // The shared connection reports its own troubles, once instead of once per source.
      const level = isRedisUnavailable(error) ? 'debug' : 'error';
      logger[level]({ ...where, err: error }, 'queue source');
    });
  }
}
