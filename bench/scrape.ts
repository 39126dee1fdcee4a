/** What a scrape of the API costs Redis, whatever the queues hold: see README.md. */
import type { JobsOptions } from 'bullmq';
import { openEngine } from '../queues/engine.ts';
import type { Engine } from '../queues/engine.ts';
import type { JobEnvelope } from '../queues/jobs/envelope.ts';
import { createApiMetrics } from '../src/api/metrics.ts';
import { createLogger } from '../src/shared/logger.ts';
import { costOf, machineHeader, median, number, printSection, table, withRedis } from './harness.ts';
import type { ServerCost } from './harness.ts';
import { count, counts, flag, readOptions } from './options.ts';
import { chunksOf } from './workload.ts';

const options = readOptions('scrape', {
  jobs: counts([1, 10_000, 1_000_000], 'waiting jobs'),
  tenants: count(100_000, 'tenants they belong to, by turns'),
  queues: count(1, 'queues they lie in, by turns'),
  shards: count(4, 'shards'),
  scrapes: count(20, 'scrapes'),
  bare: flag('leave the machine out of the output'),
});

const logger = createLogger({ level: 'fatal', name: 'bench' });
const ADDED_AT_ONCE = 1000;

const numbersTo = function* (end: number): Generator<number> {
  for (let n = 0; n < end; n += 1) yield n;
};

async function fill(engine: Engine, jobs: number): Promise<void> {
  const { topology } = engine;
  const add = async (job: number): Promise<void> => {
    const tenant = `tenant-${job % options.tenants}`;
    const queue = topology.queue(topology.shardOf(tenant), queueName(job));
    await queue.add('echo', {} as JobEnvelope, { group: { id: tenant } } as JobsOptions);
  };
  for (const chunk of chunksOf(numbersTo(jobs), ADDED_AT_ONCE)) await Promise.all(chunk.map(add));
  for (let queue = 0; queue < options.queues; queue += 1) await topology.register(queueName(queue));
}

const queueName = (number: number): string => `queue-${number % options.queues}`;

async function measure(jobs: number): Promise<string[]> {
  console.error(`scrape: ${number(jobs)} jobs`);
  return withRedis(async ({ port, redis }) => {
    const { shards } = options;
    const engine = await openEngine({ redisUrl: `redis://127.0.0.1:${port}`, shards, logger });
    try {
      await fill(engine, jobs);
      // Metrics of its own each time: what one knows it tells again for two seconds.
      const scrape = async (): Promise<void> => void (await createApiMetrics(engine).expose());
      await scrape();
      const costs: ServerCost[] = [];
      for (let time = 0; time < options.scrapes; time += 1) costs.push((await costOf(redis, scrape))[1]);
      const of = (figure: (cost: ServerCost) => number): number => median(costs.map(figure));
      return [
        number(jobs),
        number(of(({ commands }) => commands)),
        number(of(({ scriptMicros }) => scriptMicros) / 1000, 2),
        number(of(({ cpuMicros }) => cpuMicros) / 1000, 2),
      ];
    } finally {
      await engine.close();
    }
  });
}

const header = options.bare ? null : await machineHeader();
const rows: string[][] = [];
for (const jobs of options.jobs) rows.push(await measure(jobs));
await printSection('Scrapes', header, [
  `What one scrape of the API costs Redis; jobs of ${number(options.tenants)} tenants in ${options.queues} queues on ` +
    `${options.shards} shards; medians of ${options.scrapes}.`,
  table(['waiting jobs', 'commands', 'scripts ms', 'server cpu ms'], rows),
]);
