/** How long tenants with little work wait behind one with a backlog: see README.md. */
import { BenchProcess } from './child-process.ts';
import { alternate, machineHeader, median, number, printSection, table, withRedis } from './harness.ts';
import type { Bench, Pairs } from './harness.ts';
import { count, flag, readOptions } from './options.ts';
import type { WorkerConfig, WorkerReport } from './worker-process.ts';
import { chunksOf, makeJobs, monotonicMs, openQueue } from './workload.ts';
import type { BackendName, BenchJob } from './workload.ts';

const options = readOptions('fairness', {
  backlog: count(20_000, 'waiting jobs of the heavy tenant'),
  lights: count(20, 'light tenants'),
  each: count(50, 'jobs of each light tenant'),
  sleep: count(5, 'what a job sleeps, in ms'),
  concurrency: count(10, 'concurrency of the one worker process'),
  runs: count(3, 'runs of each backend'),
  bare: flag('leave the machine out of the output'),
});

interface FairnessResult {
  /** From the arrival of the light jobs to the end of the last of them. */
  allDoneMs: number;
  /** The same for each light tenant's own last job, median of the tenants. */
  tenantDoneMs: number;
  /** The ideal at the pace at which the worker really completed jobs meanwhile. */
  idealAtPaceMs: number;
  heavyRunMeanwhile: number;
}

/** The light jobs and an equal share for the heavy tenant: what must run before the last light job is done. */
const IDEAL_JOBS = (options.lights + 1) * options.each;
const IDEAL_MS = (IDEAL_JOBS * options.sleep) / options.concurrency;
/** Heavy jobs that are done before the light ones arrive, so that they meet a queue at work. */
const HEAD_START = Math.min(500, Math.floor(options.backlog / 10));
const STUCK_MS = 30_000;
const QUEUE = 'bench';

type Trace = Extract<WorkerReport, { name: string }>;
const isLight = (trace: Trace): boolean => trace.name.startsWith('light');

async function measure(bench: Bench, backend: BackendName): Promise<FairnessResult> {
  await bench.redis.flushall('SYNC');
  const config: WorkerConfig = {
    backend,
    port: bench.port,
    queue: QUEUE,
    concurrency: options.concurrency,
    keep: false,
    sleepMs: options.sleep,
    trace: true,
  };
  const traces: Trace[] = [];
  let lightsDone = 0;
  const worker = new BenchProcess('./worker-process.ts', config, (news) => {
    const trace = news as Trace;
    traces.push(trace);
    if (isLight(trace)) lightsDone++;
  });
  const queue = openQueue(QUEUE, backend, bench.port);
  try {
    const heavy = makeJobs(backend, {
      jobs: options.backlog,
      tenants: 1,
      order: 'round-robin',
      tenantName: 'heavy',
    });
    for (const jobs of chunksOf(heavy, 1_000)) await queue.addBulk(jobs);
    await worker.call('prepare');
    await worker.call('release');
    await until(worker, () => traces.length >= HEAD_START, traces);
    const light = lightJobs(backend);
    const arrivedAt = monotonicMs();
    await queue.addBulk(light);
    await until(worker, () => lightsDone === light.length, traces);
    return summarize(traces, arrivedAt);
  } finally {
    await worker.stop();
    await queue.close();
  }
}

function lightJobs(backend: BackendName): BenchJob[] {
  const { lights, each } = options;
  return [
    ...makeJobs(backend, {
      jobs: lights * each,
      tenants: lights,
      order: 'round-robin',
      tenantName: 'light',
    }),
  ];
}

async function until(worker: BenchProcess, met: () => boolean, traces: Trace[]): Promise<void> {
  let seen = traces.length;
  let movedAt = monotonicMs();
  while (!met()) {
    worker.check();
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (traces.length > seen) movedAt = monotonicMs();
    else if (monotonicMs() - movedAt > STUCK_MS) throw new Error(`stuck after ${seen} jobs`);
    seen = traces.length;
  }
}

function summarize(traces: Trace[], arrivedAt: number): FairnessResult {
  const doneAt = new Map<string, number>();
  for (const trace of traces.filter(isLight)) {
    doneAt.set(trace.name, Math.max(trace.completedAt, doneAt.get(trace.name) ?? 0));
  }
  const lastAt = Math.max(...doneAt.values());
  const meanwhile = traces.filter((trace) => trace.completedAt >= arrivedAt && trace.completedAt <= lastAt);
  const allDoneMs = lastAt - arrivedAt;
  return {
    allDoneMs,
    tenantDoneMs: median([...doneAt.values()].map((at) => at - arrivedAt)),
    idealAtPaceMs: (IDEAL_JOBS * allDoneMs) / meanwhile.length,
    heavyRunMeanwhile: meanwhile.filter((trace) => !isLight(trace)).length,
  };
}

function row(backend: BackendName, pairs: Pairs<FairnessResult>): string[] {
  const of = (figure: (result: FairnessResult) => number): number => median(pairs[backend].map(figure));
  return [
    backend,
    number(of((result) => result.allDoneMs)),
    number(of((result) => result.tenantDoneMs)),
    of((result) => result.allDoneMs / IDEAL_MS).toFixed(2),
    number(of((result) => result.idealAtPaceMs)),
    of((result) => result.allDoneMs / result.idealAtPaceMs).toFixed(2),
    number(of((result) => result.heavyRunMeanwhile)),
  ];
}

const header = options.bare ? null : await machineHeader();
const pairs = await withRedis((bench) =>
  alternate(options.runs, 'fairness', (backend) => measure(bench, backend)),
);
await printSection('Light tenants behind a heavy one', header, [
  `1 tenant with ${number(options.backlog)} waiting jobs, ${options.lights} tenants arriving after ${HEAD_START} of them with ${options.each} each; jobs sleep ${options.sleep} ms; concurrency ${options.concurrency}; ${options.runs} alternating runs, medians. Ideal: ${number(IDEAL_JOBS)} jobs, ${number(IDEAL_MS)} ms.`,
  table(
    [
      'backend',
      'all light done ms',
      'median light tenant ms',
      'all done / ideal',
      'ideal at real pace ms',
      'all done / that',
      'heavy jobs meanwhile',
    ],
    [row('stock', pairs), row('fair', pairs)],
  ),
]);
