import type { Retention } from '../../queues/jobs/retention.ts';
import { isRedisUnavailable } from '../../queues/topology/redis-errors.ts';
import type { Logger } from '../../src/shared/logger.ts';
import type { WorkerMetrics } from '../health/metrics.ts';
import type { ShardSource } from './source.ts';

export interface MaintenanceOptions {
  sources: readonly ShardSource[];
  shards: readonly number[];
  retention: Pick<Retention, 'sweep'>;
  metrics: Pick<WorkerMetrics, 'stalled' | 'retired'>;
  logger: Logger;
}

const SWEEP_MS = 10_000;
const SWEEP_JOBS = 500;
/** Sweeps in a row, so that removal keeps up with bursts and still leaves Redis to others. */
const MAX_ROUNDS = 10;

/** What every worker does beside running jobs: bring back jobs of lost workers, and remove finished ones in time. */
export class Maintenance {
  readonly #options: MaintenanceOptions;
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> | null = null;
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
    }, ms);
  }

  /** Stops the sweeps; the checks for stalled jobs end with their sources. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#sweeping;
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
