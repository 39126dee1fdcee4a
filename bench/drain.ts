/** How fast jobs go in and out, and what a job costs the server: see README.md. */
import type { Queue } from 'bullmq';
import { BenchProcess } from './child-process.ts';
import { Drain } from './draining.ts';
import {
  alternate,
  compare,
  costOf,
  machineHeader,
  number,
  printSection,
  spread,
  table,
  withRedis,
} from './harness.ts';
import type { Bench, Pairs, ServerCost } from './harness.ts';
import { choices, count, counts, flag, readOptions } from './options.ts';
import type { AddResult, ProducerConfig } from './producer-process.ts';
import { ORDERS, openQueue, setWideLimits } from './workload.ts';
import type { BackendName, Order } from './workload.ts';

const options = readOptions('drain', {
  jobs: count(50_000, 'jobs added in bulk and drained, per run'),
  singles: count(20_000, 'jobs added one by one, per run'),
  runs: count(5, 'runs of each backend per cell'),
  processes: counts([1, 2], 'worker processes'),
  tenants: counts([1, 100, 10_000], 'tenants'),
  order: choices(ORDERS, ['round-robin'], 'order of the jobs'),
  concurrency: count(100, 'concurrency of each worker process'),
  chunk: count(1_000, 'jobs per addBulk'),
  flight: count(100, 'single adds under way'),
  keep: flag('keep completed jobs'),
  limits: flag('every group has limits, which never hold it'),
  keys: count(0, 'keys per tenant, one of which each job has; 0 for jobs without', 0),
  bare: flag('leave the machine out of the output'),
});

interface Cell {
  processes: number;
  tenants: number;
  order: Order;
}

interface Rate {
  perSecond: number;
  /** Per job; `clientMicros` is the processor time of the producer or of all workers. */
  cost: ServerCost & { clientMicros: number };
}

interface CellResult {
  drain: Rate;
  bulk: Rate;
  single: Rate;
}

const QUEUE = 'bench';

async function measure(bench: Bench, backend: BackendName, cell: Cell): Promise<CellResult> {
  await bench.redis.flushall('SYNC');
  const { single, bulk } = await measureAdds(bench, backend, cell);
  const drain = await measureDrain(bench, backend, cell);
  return { single, bulk, drain };
}

/** Leaves the queue filled with the cell's jobs. */
async function measureAdds(
  bench: Bench,
  backend: BackendName,
  cell: Cell,
): Promise<{ single: Rate; bulk: Rate }> {
  const produce = async (method: 'addSingly' | 'addBulk', jobs: number): Promise<Rate> => {
    const config: ProducerConfig = {
      backend,
      port: bench.port,
      queue: QUEUE,
      workload: { jobs, tenants: cell.tenants, order: cell.order, keys: options.keys },
      chunk: options.chunk,
      inFlight: options.flight,
    };
    const producer = new BenchProcess('./producer-process.ts', config);
    try {
      await producer.call('warmUp');
      await bench.redis.flushall('SYNC');
      if (options.limits && backend === 'fair') await limitAll(bench.port);
      const [timed, cost] = await costOf(bench.redis, () => producer.call<AddResult>(method));
      return rateOf(jobs, timed, cost);
    } finally {
      await producer.stop();
    }
  };
  return {
    single: await produce('addSingly', options.singles),
    bulk: await produce('addBulk', options.jobs),
  };
}

async function limitAll(port: number): Promise<void> {
  const queue = openQueue(QUEUE, 'fair', port);
  try {
    await setWideLimits(queue);
  } finally {
    await queue.close();
  }
}

/** Starts and warms the workers beside the filled queue, lets them go, and times until the last job is completed. */
async function measureDrain(bench: Bench, backend: BackendName, cell: Cell): Promise<Rate> {
  const drain = new Drain(cell.processes, {
    backend,
    port: bench.port,
    queue: QUEUE,
    concurrency: options.concurrency,
    keep: options.keep,
    sleepMs: 0,
    trace: false,
  });
  try {
    await drain.prepare();
    const [timed, cost] = await costOf(bench.redis, () => drain.run(options.jobs));
    await checkDrained(backend, bench.port);
    return rateOf(options.jobs, timed, cost);
  } finally {
    await drain.stop();
  }
}

function rateOf(jobs: number, { elapsedMs, cpuMs }: AddResult, server: ServerCost): Rate {
  return {
    perSecond: (jobs / elapsedMs) * 1_000,
    cost: {
      scriptMicros: server.scriptMicros / jobs,
      commands: server.commands / jobs,
      cpuMicros: server.cpuMicros / jobs,
      clientMicros: (cpuMs * 1_000) / jobs,
    },
  };
}

/** A drain that left jobs behind, or lost some it should have kept, measured something else. */
async function checkDrained(backend: BackendName, port: number): Promise<void> {
  const queue: Queue = openQueue(QUEUE, backend, port);
  try {
    const { completed, ...left } = await queue.getJobCounts();
    const expected = options.keep ? options.jobs : 0;
    const leftOver = Object.entries(left).filter(([, number]) => number > 0);
    if (completed !== expected || leftOver.length > 0) {
      throw new Error(
        `${completed} completed jobs kept instead of ${expected}; left: ${JSON.stringify(left)}`,
      );
    }
  } finally {
    await queue.close();
  }
}

type CellPairs = [Cell, Pairs<CellResult>];

function tables(kind: keyof CellResult, results: CellPairs[]): string[] {
  const withProcesses = kind === 'drain';
  const withOrder = options.order.length > 1;
  const cellHead = [...(withProcesses ? ['processes'] : []), 'tenants', ...(withOrder ? ['order'] : [])];
  const cellOf = (cell: Cell): string[] => [
    ...(withProcesses ? [String(cell.processes)] : []),
    number(cell.tenants),
    ...(withOrder ? [cell.order] : []),
  ];
  const rates = results.map(([cell, pairs]) => [
    ...cellOf(cell),
    ...compare(pairs, (result) => result[kind].perSecond),
    spread(pairs, (result) => result[kind].perSecond),
  ]);
  const costs = results.map(([cell, pairs]) => [
    ...cellOf(cell),
    ...compare(pairs, (result) => result[kind].cost.scriptMicros, 1),
    ...compare(pairs, (result) => result[kind].cost.cpuMicros, 1),
    ...compare(pairs, (result) => result[kind].cost.commands, 2),
    ...compare(pairs, (result) => result[kind].cost.clientMicros, 1),
  ]);
  const costHead = ['scripts us', 'server cpu us', 'commands', 'client cpu us'].flatMap((figure) => [
    `${figure}: stock`,
    'fair',
    'ratio',
  ]);
  return [
    table([...cellHead, 'stock jobs/s', 'fair jobs/s', 'ratio', 'ratios of pairs'], rates),
    'Per job:',
    table([...cellHead, ...costHead], costs),
  ];
}

/** Adding does not depend on the number of worker processes, so those cells are one. */
function withoutProcesses(results: CellPairs[]): CellPairs[] {
  const merged = new Map<string, CellPairs>();
  for (const [cell, pairs] of results) {
    const key = `${cell.tenants} ${cell.order}`;
    const sofar = merged.get(key)?.[1] ?? { stock: [], fair: [] };
    const both = { stock: [...sofar.stock, ...pairs.stock], fair: [...sofar.fair, ...pairs.fair] };
    merged.set(key, [cell, both]);
  }
  return [...merged.values()];
}

function cells(): Cell[] {
  return options.processes.flatMap((processes) =>
    options.tenants.flatMap((tenants) => options.order.map((order) => ({ processes, tenants, order }))),
  );
}

const header = options.bare ? null : await machineHeader();
const results: CellPairs[] = [];
await withRedis(async (bench) => {
  for (const cell of cells()) {
    const label = `drain, processes ${cell.processes}, tenants ${cell.tenants}, ${cell.order}`;
    results.push([cell, await alternate(options.runs, label, (backend) => measure(bench, backend, cell))]);
  }
});
const variant = [
  `completed jobs ${options.keep ? 'kept' : 'removed'}`,
  ...(options.limits ? ['limits on every group'] : []),
  ...(options.keys > 0 ? [`a key on every job, ${number(options.keys)} per tenant`] : []),
];
await printSection(`Rates, ${variant.join(', ')}`, header, [
  `${number(options.jobs)} no-op jobs, 100-byte payload, ${options.order.join(' and ')}; concurrency ${options.concurrency} per worker process; ${options.runs} alternating runs per cell, medians.`,
  '### Drain',
  ...tables('drain', results),
  `### Bulk add (addBulk of ${number(options.chunk)}, one after the other)`,
  ...tables('bulk', withoutProcesses(results)),
  `### Single add (${number(options.singles)} jobs, ${options.flight} in flight)`,
  ...tables('single', withoutProcesses(results)),
]);
