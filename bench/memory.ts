/** What a waiting job takes in Redis: see README.md. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { newJobId } from '../src/shared/ids.ts';
import {
  alternate,
  compare,
  machineHeader,
  number,
  printSection,
  serverFigure,
  spread,
  table,
  withRedis,
} from './harness.ts';
import { count, counts, flag, readOptions } from './options.ts';
import { chunksOf, makeJobs, openQueue } from './workload.ts';
import type { BackendName } from './workload.ts';

const options = readOptions('memory', {
  jobs: count(1_000_000, 'waiting jobs'),
  tenants: counts([1, 100, 10_000, 1_000_000], 'tenants; no more than jobs'),
  keys: count(0, 'keys per tenant, one of which each job has; 0 for jobs without', 0),
  runs: count(3, 'runs of each backend per number of tenants'),
  bare: flag('leave the machine out of the output'),
});

const QUEUE = 'default';

/** @returns bytes per waiting job, on a server of its own so that nothing is left over from the run before */
async function measure(backend: BackendName, tenants: number): Promise<number> {
  return withRedis(async ({ port, redis }) => {
    const before = await settledMemory(redis);
    const queue = openQueue(QUEUE, backend, port);
    try {
      const jobs = makeJobs(backend, {
        jobs: options.jobs,
        tenants,
        order: 'round-robin',
        keys: options.keys,
      });
      for (const chunk of chunksOf(jobs, 1_000)) {
        await queue.addBulk(chunk.map((job) => ({ ...job, opts: { ...job.opts, jobId: newJobId(QUEUE) } })));
      }
    } finally {
      await queue.close();
    }
    return ((await settledMemory(redis)) - before) / options.jobs;
  });
}

/** Memory in use without client buffers, once it no longer changes: a growing key space still moves for a while. */
async function settledMemory(redis: Redis): Promise<number> {
  let last = -1;
  for (;;) {
    const used = await serverFigure(redis, 'memory', 'used_memory');
    const now = used - (await serverFigure(redis, 'memory', 'mem_clients_normal'));
    if (Math.abs(now - last) < 4_096) return now;
    last = now;
    await pause(300);
  }
}

const header = options.bare ? null : await machineHeader();
const rows: string[][] = [];
for (const tenants of options.tenants.map((given) => Math.min(given, options.jobs))) {
  const pairs = await alternate(options.runs, `memory, tenants ${tenants}`, (backend) =>
    measure(backend, tenants),
  );
  rows.push([number(tenants), ...compare(pairs, (bytes) => bytes), spread(pairs, (bytes) => bytes)]);
}
const keyed = options.keys > 0 ? `, a key on every job, ${number(options.keys)} per tenant` : '';
await printSection(`Memory of a waiting job${keyed}`, header, [
  `${number(options.jobs)} waiting jobs, 100-byte payload, ids \`${QUEUE}.<ulid>\`; used_memory of a fresh server without client buffers; ${options.runs} alternating runs, medians.`,
  table(['tenants', 'stock bytes/job', 'fair bytes/job', 'ratio', 'ratios of pairs'], rows),
]);
