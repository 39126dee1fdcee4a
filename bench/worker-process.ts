/** Forked by benchmarks: runs jobs that do nothing, or sleep, and tells the parent what was done and when. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'bullmq';
import type { Job } from 'bullmq';
import { failToParent, readConfig, report, serve } from './child-process.ts';
import { backendFactory, connectionTo, makeJobs, monotonicMs, openQueue } from './workload.ts';
import type { BackendName } from './workload.ts';

export interface WorkerConfig {
  backend: BackendName;
  port: number;
  queue: string;
  concurrency: number;
  /** Completed jobs stay in Redis instead of going at once. */
  keep: boolean;
  /** What a job sleeps; 0 for a job that does nothing. */
  sleepMs: number;
  /** Every job's name, start and end is reported, at once; otherwise their number alone, every 20 ms. */
  trace: boolean;
}

/** Times are those of `monotonicMs`. */
export type WorkerReport =
  | { completed: number; lastCompletedAt: number; cpuMs: number }
  | { name: string; startedAt: number; completedAt: number };

const REPORT_EVERY_MS = 20;
const WARM_UP_JOBS = 2_000;

const config = readConfig<WorkerConfig>();

function createWorker(queue: string, processor: (job: Job) => Promise<void>): Worker {
  const worker = new Worker(
    queue,
    processor,
    {
      connection: connectionTo(config.port),
      concurrency: config.concurrency,
      autorun: false,
      ...(config.keep ? {} : { removeOnComplete: { count: 0 } }),
    },
    backendFactory(config.backend),
  );
  worker.on('error', failToParent);
  worker.on('failed', (_job, error) => failToParent(error));
  return worker;
}

/** Runs jobs of another queue first, so that the measured ones meet compiled code and loaded scripts. */
async function warmUp(): Promise<void> {
  const name = `warm-up-${process.pid}`;
  const queue = openQueue(name, config.backend, config.port);
  const workload = { jobs: WARM_UP_JOBS, tenants: 10, order: 'round-robin' } as const;
  await queue.addBulk([...makeJobs(config.backend, workload)]);
  const worker = createWorker(name, async () => undefined);
  let left = WARM_UP_JOBS;
  await new Promise<void>((resolve) => {
    worker.on('completed', () => --left === 0 && resolve());
    worker.run().catch(failToParent);
  });
  await worker.close();
  await queue.close();
}

const work = async (): Promise<void> => {
  if (config.sleepMs > 0) await sleep(config.sleepMs);
};
const worker = config.trace ? tracingWorker() : createWorker(config.queue, work);
const startCounting = config.trace ? () => undefined : countJobs();

function tracingWorker(): Worker {
  const starts = new Map<string | undefined, number>();
  const tracing = createWorker(config.queue, (job) => {
    starts.set(job.id, monotonicMs());
    return work();
  });
  tracing.on('completed', (job) => {
    const startedAt = starts.get(job.id) ?? NaN;
    starts.delete(job.id);
    report({ name: job.name, startedAt, completedAt: monotonicMs() } satisfies WorkerReport);
  });
  return tracing;
}

/** @returns the function that starts the clock of the processor time and the reports */
function countJobs(): () => void {
  let completed = 0;
  let lastCompletedAt = 0;
  worker.on('completed', () => {
    completed++;
    lastCompletedAt = monotonicMs();
  });
  return () => {
    const cpuBefore = process.cpuUsage();
    let reported = 0;
    setInterval(() => {
      if (completed === reported) return;
      reported = completed;
      const { user, system } = process.cpuUsage(cpuBefore);
      report({ completed, lastCompletedAt, cpuMs: (user + system) / 1_000 } satisfies WorkerReport);
    }, REPORT_EVERY_MS);
  };
}

let cpuAsked = process.cpuUsage();

serve({
  /** Processor time since it was last asked for, in ms. */
  cpu: () => {
    const { user, system } = process.cpuUsage(cpuAsked);
    cpuAsked = process.cpuUsage();
    return (user + system) / 1_000;
  },
  prepare: async () => {
    await warmUp();
    await worker.waitUntilReady();
  },
  release: () => {
    startCounting();
    worker.run().catch(failToParent);
  },
});
