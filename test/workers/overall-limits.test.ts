import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { openEngine } from '../../queues/engine.ts';
import type { Engine } from '../../queues/engine.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { finished, forkWorker, silent, tenantsByShard, until } from './support.ts';
import type { WorkerProcess } from './support.ts';
import { bestOfThree, mostWithin, openTarget } from './target.ts';
import type { Target } from './target.ts';

const SHARDS = 4;
const QUEUES = ['default', 'side'];

let redisUrl: string;
let engine: Engine;
let target: Target;
let tenants: string[];
let workers: WorkerProcess[] = [];

beforeEach(async () => {
  redisUrl = await freshRedisUrl();
  engine = await openEngine({ redisUrl, shards: SHARDS, logger: silent });
  tenants = tenantsByShard(engine, SHARDS);
});

afterEach(async () => {
  for (const { child } of workers) child.kill('SIGKILL');
  await Promise.all(workers.map((worker) => worker.ended));
  workers = [];
  await target.close();
  await engine.close();
});

async function startWorkers(count: number): Promise<void> {
  const started = Array.from({ length: count }, () =>
    forkWorker({
      REDIS_URL: redisUrl,
      WAGGLE_SHARDS: String(SHARDS),
      WAGGLE_ALLOW_PRIVATE_TARGETS: '1',
      WORKER_CONCURRENCY: '20',
      WORKER_QUEUES: QUEUES.join(','),
      WORKER_LOCK_MS: '9000',
      WORKER_STALLED_MS: '1000',
      LOG_LEVEL: 'info',
    }),
  );
  workers.push(...started);
  await Promise.all(started.map((worker) => worker.logged('worker is running')));
}

interface Call {
  tenant: string;
  id: string;
  path: string;
}

/** Jobs that call the target at `/<tenant>/<queue>/<number>`. */
async function enqueueCalls(tenant: string, count: number, queue = 'default'): Promise<Call[]> {
  const paths = Array.from({ length: count }, (_, number) => `/${tenant}/${queue}/${number}`);
  const jobs = paths.map((path) => ({
    task: 'http.request',
    queue,
    payload: { url: `${target.url}${path}` },
  }));
  const outcomes = await engine.jobs.enqueueBatch(tenant, jobs, { correlationId: 'overall' });
  return outcomes.map((outcome, i) => {
    if ('problem' in outcome) throw new Error(`A job was not enqueued: ${outcome.problem.code}`);
    return { tenant, id: outcome.id, path: paths[i] ?? '' };
  });
}

async function enqueueEverywhere(count: number, queue?: string): Promise<Call[]> {
  const calls: Call[] = [];
  for (const tenant of tenants) calls.push(...(await enqueueCalls(tenant, count, queue)));
  return calls;
}

async function activeJobs(queue: string): Promise<{ id: string; processedBy: string }[]> {
  const shards = Array.from({ length: SHARDS }, (_, shard) => engine.topology.queue(shard, queue));
  const active = (await Promise.all(shards.map((each) => each.getActive()))).flat();
  return active.map(({ id = '', processedBy = '' }) => ({ id, processedBy }));
}

test('a queue never runs more than it may over four shards, also when a worker is killed in the middle', async () => {
  target = await openTarget(10);
  await engine.overall.queues.put('default', { maxRunning: 3 });
  await startWorkers(2);
  const calls = await enqueueEverywhere(40);

  await until(() => target.hits.length >= 40);
  target.hold(/./);
  await until(() => target.open() === 3);
  const active = await activeJobs('default');
  expect(active).toHaveLength(3);
  const { processedBy } = active[0] ?? { processedBy: '' };
  const lost = active.filter((job) => job.processedBy === processedBy).map((job) => job.id);
  const victim = workers.find(({ child }) => processedBy.endsWith(`:${child.pid}`));
  victim?.child.kill('SIGKILL');
  expect(await victim?.ended).toBe('SIGKILL');
  await until(() => target.open() === 3 - lost.length);
  // What it ran counts until it is taken off the active list; then others may run.
  await until(() => target.open() === 3);
  target.release();

  for (const { tenant, id, path } of calls) {
    expect((await finished(engine, tenant, id)).state).toBe('completed');
    expect(target.hits.filter((hit) => hit.path === path)).toHaveLength(lost.includes(id) ? 2 : 1);
  }
  expect(target.peak()).toBe(3);
});

test('a task never runs more than it may over its queues and shards, and others of the tenant go on', async () => {
  target = await openTarget(20);
  await engine.overall.tasks.put('http.request', { maxRunning: 2 });
  await startWorkers(2);
  target.hold(/./);
  const calls = (await Promise.all(QUEUES.map((queue) => enqueueEverywhere(20, queue)))).flat();
  await until(() => target.open() === 2);
  // Behind them in every line.
  const echoes = await Promise.all(
    tenants.map(async (tenant) => ({
      tenant,
      id: (await engine.jobs.enqueue(tenant, { task: 'echo' }, { correlationId: 'overall' })).id,
    })),
  );
  for (const { tenant, id } of echoes) expect((await finished(engine, tenant, id)).state).toBe('completed');
  expect(target.open()).toBe(2);
  target.release();
  for (const { tenant, id } of calls) {
    expect((await finished(engine, tenant, id)).state).toBe('completed');
  }
  expect(target.peak()).toBe(2);
  expect(target.hits).toHaveLength(calls.length);
});

test.each(['queues', 'tasks'] as const)(
  'the rate of %s holds over all shards in every window, and is used up',
  async (kind) => {
    const [limit, burst, seconds] = [60, 24, 8];
    target = await openTarget();
    const name = kind === 'queues' ? 'default' : 'http.request';
    await engine.overall[kind].put(name, { rate: { limit, periodMs: 1000, burst } });
    await startWorkers(2);
    // One shard has most of the work, two have some, one has none.
    const total = limit * seconds + burst;
    const [many = '', some = '', few = ''] = tenants;
    const enough = 0.95 * limit * (seconds - 1);
    let starts: number[] = [];
    // Were its parts not moved, the shard with most of the work would have half of it.
    const used = await bestOfThree(enough, async () => {
      const before = starts.length;
      await Promise.all([
        enqueueCalls(many, Math.floor(total / 2)),
        enqueueCalls(some, Math.floor(total / 4)),
        enqueueCalls(few, total - Math.floor(total / 2) - Math.floor(total / 4)),
      ]);
      await until(() => target.hits.length === before + total);
      starts = await startTimes('default');
      expect(starts).toHaveLength(before + total);
      // Without those that had been saved up.
      return mostWithin(starts.slice(before + burst), (seconds - 1) * 1000);
    });
    expect(used).toBeGreaterThanOrEqual(enough);

    const windows = [20, 50, 100, 200, 500, 1000, 3000, 7000];
    const most = (windowMs: number): number => burst + Math.ceil((limit * windowMs) / 1000) + 1;
    expect(windows.filter((windowMs) => mostWithin(starts, windowMs) > most(windowMs))).toEqual([]);
  },
);

/** When jobs of a queue started, by the clock of Redis, which is the one that decides. */
async function startTimes(queue: string): Promise<number[]> {
  const keys = Array.from({ length: SHARDS }, (_, shard) =>
    engine.topology.queue(shard, queue).toKey('events'),
  );
  const events = await Promise.all(keys.map((key) => engine.topology.redis.xrange(key, '-', '+')));
  return events
    .flat()
    .filter(([, [, event]]) => event === 'active')
    .map(([id]) => Number(id.split('-')[0]))
    .sort((one, other) => one - other);
}

test('a limit is changed while jobs run: it holds at once, and goes without a restart', async () => {
  target = await openTarget(5);
  await startWorkers(1);
  target.hold(/./);
  const calls = await enqueueEverywhere(10);
  await until(() => target.open() === 20);
  await engine.overall.queues.put('default', { maxRunning: 4 });
  target.release();
  // Those that ran count; nothing starts before they are down to four.
  await until(() => target.hits.length > 24);
  for (const { tenant, id } of calls.slice(0, 5)) await finished(engine, tenant, id);
  target.hold(/./);
  const more = await enqueueEverywhere(10);
  await until(() => target.open() === 4);
  await engine.overall.queues.remove('default');
  await until(() => target.open() === 20);
  target.release();
  for (const { tenant, id } of [...calls, ...more]) {
    expect((await finished(engine, tenant, id)).state).toBe('completed');
  }
});

test('queues without limits run as fast as if no other had any', async () => {
  target = await openTarget();
  await startWorkers(1);
  const thousand = async (tenant: string): Promise<number> => {
    const startedAt = performance.now();
    const queue = engine.topology.queue(engine.topology.shardOf(tenant), 'side');
    const before = await queue.getCompletedCount();
    const jobs = Array.from({ length: 1000 }, (_, payload) => ({ task: 'echo', payload, queue: 'side' }));
    await engine.jobs.enqueueBatch(tenant, jobs, { correlationId: 'overall' });
    await until(async () => (await queue.getCompletedCount()) >= before + 1000);
    return performance.now() - startedAt;
  };
  const [one = '', other = ''] = tenants;
  await thousand(one);
  const alone = [await thousand(one), await thousand(one)];
  await engine.overall.queues.put('default', { maxRunning: 1 });
  await engine.overall.tasks.put('http.request', { rate: { limit: 1, periodMs: 60_000 } });
  target.hold(/./);
  await enqueueEverywhere(500);
  await enqueueCalls(other, 200, 'side');
  await until(() => target.open() === 1);
  const beside = [await thousand(one), await thousand(one), await thousand(one)];
  expect(target.hits).toHaveLength(1);
  expect(Math.min(...beside)).toBeLessThan(3 * Math.max(...alone) + 500);
});
