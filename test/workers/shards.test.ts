import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { openEngine } from '../../queues/engine.ts';
import type { Engine } from '../../queues/engine.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { completedIn, contenders, expectEqualShares, hold, letGo, startsOf, weigh } from './starts.ts';
import type { Contender, Start } from './starts.ts';
import { forkWorker, silent, until } from './support.ts';
import type { WorkerProcess } from './support.ts';

const SHARDS = 4;
/** Shards with 1, 2, 12 and 5 tenants, which together weigh 1, 3, 11 and 9.5. */
const UNEVEN = [[1], [2, 1], [1, 1, 1, 0.5, 1, 1, 1, 1, 0.5, 1, 1, 1], [4, 1, 0.5, 1, 3]];

let redisUrl: string;
let engine: Engine;
let workers: WorkerProcess[] = [];
let tenantOf: Map<string, string>;

beforeEach(async () => {
  redisUrl = await freshRedisUrl();
  engine = await openEngine({ redisUrl, shards: SHARDS, logger: silent });
  tenantOf = new Map();
});

afterEach(async () => {
  for (const { child } of workers) child.kill('SIGKILL');
  await Promise.all(workers.map((worker) => worker.ended));
  workers = [];
  await engine.close();
});

async function startWorkers(...concurrencies: number[]): Promise<void> {
  for (const concurrency of concurrencies) {
    workers.push(
      forkWorker({
        REDIS_URL: redisUrl,
        WAGGLE_SHARDS: String(SHARDS),
        WORKER_CONCURRENCY: String(concurrency),
        WORKER_QUEUES: 'default,side',
        LOG_LEVEL: 'info',
      }),
    );
  }
  await Promise.all(workers.map((worker) => worker.logged('worker is running')));
}

async function enqueue(tenant: string, count: number, queue: string, ms: () => number): Promise<void> {
  const batch = Math.min(count, 1000);
  const jobs = Array.from({ length: batch }, () => ({ task: 'sleep', payload: { ms: ms() }, queue }));
  const outcomes = await engine.jobs.enqueueBatch(tenant, jobs, { correlationId: 'shards' });
  for (const outcome of outcomes) {
    if ('problem' in outcome) throw new Error(`A job was not enqueued: ${outcome.problem.code}`);
    tenantOf.set(outcome.id, tenant);
  }
  if (count > batch) await enqueue(tenant, count - batch, queue, ms);
}

const someMs = (): number => 5 + Math.floor(Math.random() * 15);

/** Gives everybody half as much again as `starts` starts take of its jobs. */
async function fill(
  tenants: readonly Contender[],
  starts: number,
  queue = 'default',
  ms = someMs,
): Promise<void> {
  const sum = tenants.reduce((total, { weight }) => total + weight, 0);
  const backlog = ({ weight }: Contender): number => Math.ceil((1.5 * starts * weight) / sum) + 10;
  // A few at a time: on a machine with a lot to do, calls of a thousand tenants at once would wait for too long.
  for (let from = 0; from < tenants.length; from += 20) {
    const some = tenants.slice(from, from + 20);
    await Promise.all(some.map((tenant) => enqueue(tenant.id, backlog(tenant), queue, ms)));
  }
}

/** The starts from number `from` on, `count` of them, while all had more to run. */
async function run(from: number, count: number): Promise<Start[]> {
  await letGo(engine, ['default']);
  await until(async () => (await completedIn(engine, ['default'])) >= from + count);
  const starts = await startsOf(engine, ['default'], tenantOf);
  return starts.slice(from, from + count);
}

test.each([
  ['one process', [20]],
  ['two processes of different size', [6, 14]],
])('every tenant gets its share, in whichever shard it lives: %s', async (_, concurrencies) => {
  const tenants = contenders(engine, UNEVEN);
  await weigh(engine, tenants);
  await hold(engine, ['default']);
  await Promise.all([fill(tenants, 3000), startWorkers(...concurrencies)]);
  expectEqualShares(await run(300, 2450), tenants);
});

test('also of jobs that do nothing, and in each of two queues of a worker', async () => {
  const tenants = contenders(engine, UNEVEN);
  const queues = ['default', 'side'];
  await weigh(engine, tenants);
  await hold(engine, queues);
  for (const queue of queues) await fill(tenants, 3000, queue, () => 0);
  await startWorkers(10, 10);
  await letGo(engine, queues);
  await until(async () => (await completedIn(engine, queues)) >= 5200);
  const starts = (await startsOf(engine, queues, tenantOf)).slice(300, 5200);
  for (const queue of queues) {
    const ofQueue = starts.filter((start) => start.queue === queue);
    expect(ofQueue.length / starts.length).toBeGreaterThan(0.45);
    expect(ofQueue.length / starts.length).toBeLessThan(0.55);
    expectEqualShares(ofQueue, tenants);
  }
});

test('a thousand tenants of different weights in one shard take no more than theirs, nor less', async () => {
  const crowd = Array.from({ length: 1000 }, (_, number) => (number % 10 === 0 ? 10 : 1));
  const tenants = contenders(engine, [[200], crowd, [50, 50], [100]]);
  await weigh(engine, tenants);
  await hold(engine, ['default']);
  await Promise.all([fill(tenants, 4600, 'default', () => 1), startWorkers(20)]);
  // The light ones of the crowd are served once a round, which is 2,300 starts.
  const starts = await run(2300, 2300);
  const kinds = [200, 100, 50, 10, 1].map((weight) => tenants.filter((tenant) => tenant.weight === weight));
  const asOne = kinds.map((kind) => ({
    id: String(kind[0]?.weight),
    shard: kind[0]?.shard ?? -1,
    weight: kind.reduce((sum, { weight }) => sum + weight, 0),
  }));
  const weightOf = new Map(tenants.map(({ id, weight }) => [id, String(weight)]));
  expectEqualShares(
    starts.map((start) => ({ ...start, tenant: weightOf.get(start.tenant) ?? '' })),
    asOne,
  );
});

test('a shard that empties lends its share, and has it back as soon as it has work again', async () => {
  const tenants = contenders(engine, [[4], [1, 1], [1, 1, 1, 1], [2]]);
  const [guest] = tenants.filter(({ weight }) => weight === 4);
  if (guest === undefined) throw new Error('no guest');
  const others = tenants.filter((tenant) => tenant !== guest);
  await weigh(engine, tenants);
  await hold(engine, ['default']);
  await Promise.all([fill(others, 3000), enqueue(guest.id, 100, 'default', someMs), startWorkers(10)]);
  // It has a third, so its hundred jobs are gone after three hundred starts.
  const lent = await run(500, 200);
  expectEqualShares(lent, others);

  const before = await completedIn(engine, ['default']);
  await enqueue(guest.id, 1000, 'default', someMs);
  await until(async () => (await completedIn(engine, ['default'])) >= before + 1400);
  const starts = await startsOf(engine, ['default'], tenantOf);
  const back = starts.findIndex((start, place) => place > 500 && start.tenant === guest.id);
  expectEqualShares(starts.slice(back, back + 1200), tenants);
});
