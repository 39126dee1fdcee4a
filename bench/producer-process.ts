/** Forked by benchmarks: adds jobs and times it, in a process of its own so that every run starts with a fresh V8. */
import { readConfig, serve } from './child-process.ts';
import { chunksOf, makeJobs, monotonicMs, openQueue } from './workload.ts';
import type { BackendName, Workload } from './workload.ts';

export interface ProducerConfig {
  backend: BackendName;
  port: number;
  queue: string;
  workload: Workload;
  /** Jobs per addBulk. */
  chunk: number;
  /** Single adds under way at any time. */
  inFlight: number;
}

export interface AddResult {
  elapsedMs: number;
  /** Processor time of this process, user and system. */
  cpuMs: number;
}

const WARM_UP_JOBS = 2_000;

const config = readConfig<ProducerConfig>();
const { backend, port, chunk, inFlight } = config;

type Add = (queueName: string, workload: Workload) => Promise<AddResult>;

const addBulk: Add = (queueName, workload) => {
  const chunks = chunksOf(makeJobs(backend, workload), chunk);
  return timed(queueName, async (queue) => {
    for (const jobs of chunks) await queue.addBulk(jobs);
  });
};

const addSingly: Add = (queueName, workload) => {
  const jobs = makeJobs(backend, workload);
  return timed(queueName, async (queue) => {
    // All lanes draw from one iterator, so exactly `inFlight` adds are under way until the jobs run out.
    const lane = async (): Promise<void> => {
      for (const job of jobs) await queue.add(job.name, job.data, job.opts);
    };
    await Promise.all(Array.from({ length: inFlight }, lane));
  });
};

async function timed(
  queueName: string,
  body: (queue: ReturnType<typeof openQueue>) => Promise<void>,
): Promise<AddResult> {
  const queue = openQueue(queueName, backend, port);
  try {
    await queue.waitUntilReady();
    const cpuBefore = process.cpuUsage();
    const startedAt = monotonicMs();
    await body(queue);
    const elapsedMs = monotonicMs() - startedAt;
    const { user, system } = process.cpuUsage(cpuBefore);
    return { elapsedMs, cpuMs: (user + system) / 1_000 };
  } finally {
    await queue.close();
  }
}

serve({
  warmUp: async () => {
    const workload = { ...config.workload, jobs: WARM_UP_JOBS };
    await addBulk('warm-up', workload);
    await addSingly('warm-up', workload);
  },
  addBulk: () => addBulk(config.queue, config.workload),
  addSingly: () => addSingly(config.queue, config.workload),
});
