/** How many instructions the server executes per job: see README.md. */
import { BenchProcess } from './child-process.ts';
import { withCountedRedis } from './counted-redis.ts';
import { Drain } from './draining.ts';
import { machineHeader, number, printSection, table } from './harness.ts';
import { count, counts, flag, readOptions } from './options.ts';
import type { ProducerConfig } from './producer-process.ts';
import { BACKENDS, openQueue, setWideLimits } from './workload.ts';
import type { BackendName } from './workload.ts';

const options = readOptions('instructions', {
  jobs: count(4_000, 'jobs added one by one, added in bulk, and drained'),
  tenants: counts([1, 100, 4_000], 'tenants'),
  limits: flag('every group has limits, which never hold it'),
  keys: count(0, 'keys per tenant, one of which each job has; 0 for jobs without', 0),
  bare: flag('leave the machine out of the output'),
});

const QUEUE = 'bench';

/** Instructions per job. */
interface Counts {
  single: number;
  bulk: number;
  drain: number;
}

function measure(backend: BackendName, tenants: number): Promise<Counts> {
  return withCountedRedis(async ({ port, take }) => {
    const workload = { jobs: options.jobs, tenants, order: 'round-robin' as const, keys: options.keys };
    const config: ProducerConfig = { backend, port, queue: QUEUE, workload, chunk: 1_000, inFlight: 100 };
    const producer = new BenchProcess('./producer-process.ts', config);
    const shape = { backend, port, queue: QUEUE, concurrency: 100, keep: false, sleepMs: 0, trace: false };
    const drain = new Drain(1, shape);
    const queue = openQueue(QUEUE, backend, port);
    const counted = async (body: () => Promise<unknown>): Promise<number> => {
      await take();
      await body();
      return (await take()) / options.jobs;
    };
    try {
      if (options.limits && backend === 'fair') await setWideLimits(queue);
      await producer.call('warmUp');
      const single = await counted(() => producer.call('addSingly'));
      await queue.obliterate();
      const bulk = await counted(() => producer.call('addBulk'));
      await drain.prepare();
      return { single, bulk, drain: await counted(() => drain.run(options.jobs)) };
    } finally {
      await Promise.all([producer.stop(), drain.stop(), queue.close()]);
    }
  });
}

const header = options.bare ? null : await machineHeader();
const rows: string[][] = [];
for (const tenants of options.tenants) {
  const all: Counts[] = [];
  for (const backend of BACKENDS) {
    console.error(`instructions, tenants ${tenants}: ${backend}`);
    all.push(await measure(backend, tenants));
  }
  const [stock, fair] = all as [Counts, Counts];
  for (const phase of ['drain', 'bulk', 'single'] as const) {
    const ratio = (fair[phase] / stock[phase]).toFixed(2);
    rows.push([phase, number(tenants), number(stock[phase]), number(fair[phase]), ratio]);
  }
}
await printSection('Instructions of the server per job', header, [
  `${number(options.jobs)} jobs; one producer, one worker process with a concurrency of 100.`,
  table(['phase', 'tenants', 'stock', 'fair', 'ratio'], rows),
]);
