import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'bullmq';
import type { Queue } from 'bullmq';
import type { GroupLimits } from '../queues/fair/index.ts';
import { Drain } from './draining.ts';
import type { Bench } from './harness.ts';
import { backendFactory, chunksOf, connectionTo, fairBackendOf, makeJobs } from './workload.ts';
import type { BackendName, BenchJob } from './workload.ts';

/** Measures `body`, under a name that says what the server was asked to do. */
export type Record = (what: string, body: () => Promise<unknown>) => Promise<void>;

/** A state of a queue in which scripts may become long, and what is asked of it then. */
export interface Situation {
  name: string;
  backends: readonly BackendName[];
  run(stage: Stage): Promise<void>;
}

interface Stage {
  bench: Bench;
  backend: BackendName;
  queue: Queue;
  /** How much of the full size is wanted, from 0 to 1. */
  share: number;
  record: Record;
}

export const QUEUE = 'bench';
const WORKERS = 2;
const LOOSE: GroupLimits = { maxRunning: 1_000_000 };

export const SITUATIONS: readonly Situation[] = [
  { name: 'wide', backends: ['stock', 'fair'], run: wide },
  { name: 'freed', backends: ['fair'], run: freed },
  { name: 'due', backends: ['stock', 'fair'], run: due },
  { name: 'active', backends: ['stock', 'fair'], run: active },
];

/** A job of each of 1,000,000 tenants waits. */
async function wide({ bench, backend, queue, share, record }: Stage): Promise<void> {
  const tenants = 1_000_000 * share;
  await fill(queue, makeJobs(backend, { jobs: tenants, tenants, order: 'round-robin' }));
  await drained(bench, backend, 20_000 * share, (drain) => record('drain', drain));
}

/** 200,000 tenants wait; limits change, then a pause of all of them ends. */
async function freed({ bench, queue, share, record }: Stage): Promise<void> {
  const tenants = 200_000 * share;
  const backend = fairBackendOf(queue);
  await fill(queue, makeJobs('fair', { jobs: tenants, tenants, order: 'round-robin' }));
  await record('limits of one group', () => backend.setGroupLimits('tenant-77', LOOSE));
  await record('pause of one group', () => backend.pauseGroup('tenant-88'));
  const startedAt = Date.now();
  await record('limits of *', () => backend.setGroupLimits('*', LOOSE));
  // The pause takes about as long to reach all of them, and is not to end before that.
  const freedAt = Date.now() + 2 * (Date.now() - startedAt) + 3_000;
  await record('pause of *', () => backend.pauseGroup('*', freedAt - Date.now()));
  await pause(Math.max(0, freedAt - Date.now()));
  await drained(bench, 'fair', 50_000 * share, (drain) => record('drain when all are due', drain));
}

/** 1,000,000 delayed jobs of 100,000 tenants are due. */
async function due({ bench, backend, queue, share, record }: Stage): Promise<void> {
  const jobs = 1_000_000 * share;
  const delayed = function* (): Generator<BenchJob> {
    for (const job of makeJobs(backend, { jobs, tenants: Math.ceil(jobs / 10), order: 'round-robin' }))
      yield { ...job, opts: { ...job.opts, delay: 1 } };
  };
  await fill(queue, delayed());
  await drained(bench, backend, 50_000 * share, (drain) => record('drain', drain));
}

/** 5,000 jobs of 500 tenants are active, and their workers are gone. */
async function active({ bench, backend, queue, share, record }: Stage): Promise<void> {
  const jobs = 5_000 * share;
  await fill(queue, makeJobs(backend, { jobs, tenants: Math.ceil(jobs / 10), order: 'round-robin' }));
  await claimAll(bench, backend, jobs);
  if (backend === 'fair') {
    const fair = fairBackendOf(queue);
    await record('limits of *, all slots to be taken', () => fair.setGroupLimits('*', LOOSE));
    await record('repair, nothing to mend', () => fair.repairSlots());
  }
  const worker = workerOf(bench, backend);
  try {
    const check = async (): Promise<void> => {
      await worker.waitUntilReady();
      await worker.getBackend().moveStalledJobsToWait();
      await pause(CHECK_EVERY_MS * 2);
    };
    await record('stalled check, the first', check);
    await record('stalled check, all have stalled', check);
  } finally {
    await worker.close();
  }
}

const CHECK_EVERY_MS = 50;

function workerOf(bench: Bench, backend: BackendName): Worker {
  const worker = new Worker(
    QUEUE,
    null,
    {
      connection: connectionTo(bench.port),
      lockDuration: 500,
      stalledInterval: CHECK_EVERY_MS,
      skipStalledCheck: true,
    },
    backendFactory(backend),
  );
  worker.on('error', (error) => console.error(error));
  return worker;
}

/** Makes jobs active with locks that nobody renews, and waits until those have ended. */
async function claimAll(bench: Bench, backend: BackendName, jobs: number): Promise<void> {
  const worker = workerOf(bench, backend);
  try {
    for (let claimed = 0; claimed < jobs; claimed += 100)
      await Promise.all(Array.from({ length: 100 }, () => worker.getNextJob('bench', { block: false })));
  } finally {
    await worker.close();
  }
  await pause(1_000);
}

async function fill(queue: Queue, jobs: Iterable<BenchJob>): Promise<void> {
  const chunks = chunksOf(jobs, 1_000);
  const lane = async (): Promise<void> => {
    for (const chunk of chunks) await queue.addBulk(chunk);
  };
  await Promise.all([lane(), lane()]);
}

/** `body` gets what releases the workers and ends when `jobs` are done. */
async function drained(
  bench: Bench,
  backend: BackendName,
  jobs: number,
  body: (drain: () => Promise<unknown>) => Promise<void>,
): Promise<void> {
  const drain = new Drain(WORKERS, {
    backend,
    port: bench.port,
    queue: QUEUE,
    concurrency: 100,
    keep: false,
    sleepMs: 0,
    trace: false,
  });
  try {
    await drain.prepare();
    await body(() => drain.run(jobs, true));
  } finally {
    await drain.stop();
  }
}
