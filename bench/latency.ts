/** How long a job added to an idle queue takes to start: see README.md. */
import { setTimeout as pause } from 'node:timers/promises';
import { BenchProcess } from './child-process.ts';
import {
  alternate,
  compare,
  machineHeader,
  number,
  percentile,
  printSection,
  spread,
  table,
  withRedis,
} from './harness.ts';
import type { Bench } from './harness.ts';
import { count, flag, readOptions } from './options.ts';
import type { WorkerConfig, WorkerReport } from './worker-process.ts';
import { makeJobs, monotonicMs, openQueue } from './workload.ts';
import type { BackendName } from './workload.ts';

const options = readOptions('latency', {
  jobs: count(1_000, 'jobs per run, one at a time'),
  tenants: count(100, 'tenants they belong to'),
  idle: count(3, 'ms between the end of a job and the next add'),
  runs: count(5, 'runs of each backend'),
  bare: flag('leave the machine out of the output'),
});

interface LatencyResult {
  p50: number;
  p99: number;
}

/** Left out at the start of a run: the parent's adds are not compiled yet. */
const WARM_UP_JOBS = 100;
const TOO_LONG_MS = 30_000;
const QUEUE = 'bench';

type Trace = Extract<WorkerReport, { name: string }>;

async function measure(bench: Bench, backend: BackendName): Promise<LatencyResult> {
  await bench.redis.flushall('SYNC');
  const config: WorkerConfig = {
    backend,
    port: bench.port,
    queue: QUEUE,
    concurrency: 1,
    keep: false,
    sleepMs: 0,
    trace: true,
  };
  let finished: (trace: Trace) => void = () => undefined;
  const worker = new BenchProcess('./worker-process.ts', config, (news) => finished(news as Trace));
  const queue = openQueue(QUEUE, backend, bench.port);
  try {
    await worker.call('prepare');
    await worker.call('release');
    const waits: number[] = [];
    const jobs = makeJobs(backend, {
      jobs: WARM_UP_JOBS + options.jobs,
      tenants: options.tenants,
      order: 'round-robin',
    });
    for (const job of jobs) {
      await pause(options.idle);
      const trace = new Promise<Trace>((resolve) => (finished = resolve));
      const addedAt = monotonicMs();
      await queue.add(job.name, job.data, job.opts);
      waits.push((await orTooLong(worker, trace)).startedAt - addedAt);
    }
    const measured = waits.slice(WARM_UP_JOBS);
    return { p50: percentile(measured, 50), p99: percentile(measured, 99) };
  } finally {
    await worker.stop();
    await queue.close();
  }
}

async function orTooLong<T>(worker: BenchProcess, answer: Promise<T>): Promise<T> {
  const gaveUp = new AbortController();
  const tooLong = pause(TOO_LONG_MS, undefined, { signal: gaveUp.signal }).then(() => {
    worker.check();
    throw new Error(`a job did not run within ${TOO_LONG_MS} ms`);
  });
  try {
    return await Promise.race([answer, tooLong]);
  } finally {
    gaveUp.abort();
    tooLong.catch(() => undefined); // The race is over; what the loser says is of no interest.
  }
}

const header = options.bare ? null : await machineHeader();
const pairs = await withRedis((bench) =>
  alternate(options.runs, 'latency', (backend) => measure(bench, backend)),
);
const row = (name: string, figure: (result: LatencyResult) => number): string[] => [
  name,
  ...compare(pairs, figure, 2),
  spread(pairs, figure),
];
await printSection('From add to start on an idle queue', header, [
  `${number(options.jobs)} jobs one at a time, of ${options.tenants} tenants in turn, ${options.idle} ms apart; one worker process; ${options.runs} alternating runs, medians.`,
  table(
    ['percentile', 'stock ms', 'fair ms', 'ratio', 'ratios of pairs'],
    [row('p50', (result) => result.p50), row('p99', (result) => result.p99)],
  ),
]);
