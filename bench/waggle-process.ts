/** Forked by benchmarks: a whole Waggle worker, as `workers/main.ts` composes it, that tells what it spends and does. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine } from '../queues/engine.ts';
import { createTaskRegistry } from '../queues/tasks/registry.ts';
import { createLogger } from '../src/shared/logger.ts';
import { createHandlerRegistry, handle } from '../workers/handlers/registry.ts';
import { WorkerMetrics } from '../workers/health/metrics.ts';
import { startWorker } from '../workers/worker.ts';
import { readConfig, serve } from './child-process.ts';
import { nap } from './nap.ts';
import { monotonicMs } from './workload.ts';

export interface WaggleConfig {
  redisUrl: string;
  shards: number;
  queues: string[];
  concurrency: number;
}

/** What a worker did since it was last asked; times are those of `monotonicMs`. */
export interface WaggleRuns {
  /** Tenant and times of every job. */
  runs: { tenant: string; startedAt: number; endedAt: number }[];
  cpuMs: number;
}

const config = readConfig<WaggleConfig>();

const { redisUrl, shards, queues, concurrency } = config;
const logger = createLogger({ level: 'fatal', name: 'bench' });
let runs: WaggleRuns['runs'] = [];
const napHandler = handle(nap, async ({ tenant, job }) => {
  const startedAt = monotonicMs();
  if (job.payload.ms > 0) await sleep(job.payload.ms);
  runs.push({ tenant, startedAt, endedAt: monotonicMs() });
});
let cpu = process.cpuUsage();
serve({
  start: async () => {
    const engine = await openEngine({ redisUrl, shards, logger, tasks: createTaskRegistry([nap]) });
    startWorker({
      settings: {
        redisUrl,
        shards,
        queues,
        concurrency,
        allowPrivateTargets: false,
        logLevel: 'fatal',
        tracing: false,
        workerShards: Array.from({ length: shards }, (_, shard) => shard),
        port: 0,
        drainMs: 0,
        lockMs: 30_000,
        stalledMs: 30_000,
        resultBytes: 1024 * 1024,
      },
      engine,
      handlers: createHandlerRegistry([napHandler]),
      metrics: new WorkerMetrics({ ofProcess: false }),
      logger,
    });
  },
  take: (): WaggleRuns => {
    const { user, system } = process.cpuUsage(cpu);
    cpu = process.cpuUsage();
    const taken = runs;
    runs = [];
    return { runs: taken, cpuMs: (user + system) / 1000 };
  },
});
