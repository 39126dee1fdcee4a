/** How fast jobs are found among many of one tenant, and what being found costs: see README.md. */
import { openEngine } from '../queues/engine.ts';
import type { Engine } from '../queues/engine.ts';
import { createLogger } from '../src/shared/logger.ts';
import type { JobListQuery } from '../src/shared/schemas.ts';
import {
  costOf,
  machineHeader,
  number,
  percentile,
  printSection,
  serverFigure,
  table,
  withRedis,
} from './harness.ts';
import { count, flag, readOptions } from './options.ts';

const options = readOptions('search', {
  jobs: count(1_000_000, 'jobs of the tenant'),
  every: count(
    100_000,
    'one job in so many has the rare task, tag, key, queue and correlation id, and fails',
  ),
  reads: count(200, 'searches of each kind'),
  bare: flag('leave the machine out of the output'),
});

const TENANT = 'acme';
const BATCH = 1000;
const RARE = { task: 'fail', tags: ['rare'], key: 'rare', queue: 'rare', correlationId: 'rare' };
const context = { correlationId: 'bench' };

async function fill(engine: Engine): Promise<void> {
  for (let from = 0; from < options.jobs; from += BATCH) {
    const requests = Array.from({ length: BATCH }, (_, n) =>
      (from + n) % options.every === 0
        ? { ...RARE, payload: { message: 'no' } }
        : { task: 'echo', tags: ['common'], correlationId: `request-${from + n}`, payload: { n } },
    );
    const outcomes = await engine.jobs.enqueueBatch(TENANT, requests, context);
    if (outcomes.some((outcome) => 'problem' in outcome)) throw new Error('a job was refused');
  }
}

/** The rare ones fail, all of them. */
async function failRare(engine: Engine): Promise<number> {
  const { topology } = engine;
  const queue = topology.queue(topology.shardOf(TENANT), 'rare');
  const jobs = await queue.getWaiting(0, -1);
  for (const job of jobs) await queue.getBackend().failWaiting(job, 'no');
  return jobs.length;
}

const SEARCHES: Record<string, Partial<JobListQuery>> = {
  'all, newest first': {},
  'a tag that all have': { tag: 'common' },
  'a correlation id': { correlationId: `request-${Math.floor(options.jobs / 2) + 1}` },
  'a rare task': { task: 'fail' },
  'a rare tag': { tag: 'rare' },
  'a rare key and a common state': { key: 'rare', state: 'failed' },
  'a rare queue': { queue: 'rare' },
  failed: { state: 'failed' },
  'active, of which there are none': { state: 'active' },
  'a tag that all have and a state that none has (one call, with a cursor)': {
    tag: 'common',
    state: 'waiting-children',
    task: 'fail',
  },
};

async function timeOf(engine: Engine, query: Partial<JobListQuery>): Promise<string[]> {
  const times: number[] = [];
  let found = 0;
  for (let n = 0; n < options.reads; n += 1) {
    const startedAt = performance.now();
    found = (await engine.jobs.list(TENANT, { limit: 50, ...query })).jobs.length;
    times.push(performance.now() - startedAt);
  }
  return [number(found), number(percentile(times, 50), 1), number(percentile(times, 99), 1)];
}

const header = options.bare ? null : await machineHeader();
const parts = await withRedis(async ({ port, redis }) => {
  const logger = createLogger({ level: 'silent', name: 'bench' });
  const engine = await openEngine({ redisUrl: `redis://127.0.0.1:${port}`, shards: 4, logger });
  try {
    const before = await serverFigure(redis, 'memory', 'used_memory');
    const startedAt = performance.now();
    const [, cost] = await costOf(redis, () => fill(engine));
    const rate = (options.jobs / (performance.now() - startedAt)) * 1000;
    const bytes = ((await serverFigure(redis, 'memory', 'used_memory')) - before) / options.jobs;
    const { topology } = engine;
    const terms = topology.keys.tenantTerms(topology.shardOf(TENANT), TENANT);
    const indexed = await redis.call('MEMORY', 'USAGE', terms, 'SAMPLES', '1000');
    const failed = await failRare(engine);
    const rows: string[][] = [];
    for (const [name, query] of Object.entries(SEARCHES)) rows.push([name, ...(await timeOf(engine, query))]);
    return [
      `${number(options.jobs)} jobs of one tenant, ${number(failed)} of them rare and failed; pages of 50, ${number(options.reads)} searches each.`,
      table(['search', 'found', 'p50 ms', 'p99 ms'], rows),
      `Added at ${number(rate)} jobs/s in batches of ${number(BATCH)}; server ${number(cost.cpuMicros / options.jobs, 1)} us and ${number(bytes)} bytes a job, of which the terms take ${number(Number(indexed) / options.jobs)}.`,
    ];
  } finally {
    await engine.close();
  }
});
await printSection('Search', header, parts);
