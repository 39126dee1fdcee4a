import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { openEngine } from '../../queues/engine.ts';
import type { Engine } from '../../queues/engine.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { finished, forkWorker, silent, until } from './support.ts';
import type { WorkerProcess } from './support.ts';
import { bestOfThree, mostWithin, openTarget } from './target.ts';
import type { Target } from './target.ts';
import { freePort } from '../support/ports.ts';

let redisUrl: string;
let engine: Engine;
let target: Target;
let workers: WorkerProcess[] = [];

beforeEach(async () => {
  redisUrl = await freshRedisUrl();
  engine = await openEngine({ redisUrl, shards: 1, logger: silent });
});

afterEach(async () => {
  for (const { child } of workers) child.kill('SIGKILL');
  await Promise.all(workers.map((worker) => worker.ended));
  workers = [];
  await target.close();
  await engine.close();
});

function start(env: Record<string, string> = {}): WorkerProcess {
  const worker = forkWorker({
    REDIS_URL: redisUrl,
    WAGGLE_SHARDS: '1',
    WAGGLE_ALLOW_PRIVATE_TARGETS: '1',
    WORKER_CONCURRENCY: '20',
    LOG_LEVEL: 'info',
    ...env,
  });
  workers.push(worker);
  return worker;
}

/** Resolves when they take work. */
async function running(...started: WorkerProcess[]): Promise<void> {
  await Promise.all(started.map((worker) => worker.logged('worker is running')));
}

/** Jobs that call the target at `/<tenant>/<number>`. */
async function enqueueCalls(tenant: string, count: number, queues = ['default']): Promise<string[]> {
  const jobs = Array.from({ length: count }, (_, number) => ({
    task: 'http.request',
    queue: queues[number % queues.length],
    payload: { url: `${target.url}/${tenant}/${number}` },
  }));
  const outcomes = await engine.jobs.enqueueBatch(tenant, jobs, { correlationId: 'limits' });
  return outcomes.map((outcome) => ('id' in outcome ? outcome.id : outcome.problem.code));
}

const hitsOf = (tenant: string): number =>
  target.hits.filter((hit) => hit.path.startsWith(`/${tenant}/`)).length;

test('two workers never run more of a tenant than it may, also when one of them is killed in the middle', async () => {
  target = await openTarget(10);
  await engine.tenants.put('acme', { maxRunning: 3 });
  const ports: number[] = [];
  const startOne = async (): Promise<WorkerProcess> => {
    const port = await freePort();
    const worker = start({ WORKER_LOCK_MS: '9000', WORKER_STALLED_MS: '1000', WORKER_PORT: String(port) });
    ports[workers.indexOf(worker)] = port;
    return worker;
  };
  await running(await startOne(), await startOne());
  const ids = await enqueueCalls('acme', 150);

  // Held until somebody died with requests under way; which of the two has some is theirs to share out.
  await until(() => target.hits.length >= 40);
  target.hold(/./);
  await until(() => target.open() === 3);
  const queue = engine.topology.queue(0, 'default');
  const active = await queue.getActive();
  expect(active).toHaveLength(3);
  const { processedBy } = active[0] ?? {};
  const lost = active.filter((job) => job.processedBy === processedBy).map((job) => job.id ?? '');
  const place = workers.findIndex(({ child }) => processedBy?.endsWith(`:${child.pid}`));
  workers[place]?.child.kill('SIGKILL');
  expect(await workers[place]?.ended).toBe('SIGKILL');
  await until(() => target.open() === 3 - lost.length);
  // Its jobs come back while the others' still run, and another worker takes its place.
  await running(await startOne());
  await until(() => target.open() === 3);
  target.release();

  for (const [number, id] of ids.entries()) {
    const job = await finished(engine, 'acme', id);
    expect(job).toMatchObject({ state: 'completed', attempts: { made: 1 } });
    const calls = target.hits.filter((hit) => hit.path === `/acme/${number}`);
    expect(calls).toHaveLength(lost.includes(id) ? 2 : 1);
  }
  expect(target.peak()).toBe(3);

  // Every slot came back with its job: nothing had to be mended, and nothing is left.
  for (const port of ports.filter((_, worker) => worker !== place)) {
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(metrics).toContain('\nwaggle_worker_slots_repaired_total 0\n');
  }
  expect(await queue.getBackend().repairSlots()).toEqual({ released: 0, adopted: 0, keys: 0, parked: 0 });
  const prefix = engine.topology.prefix(0);
  expect(await engine.topology.redis.exists(`${prefix}::fair:slots`, `${prefix}::fair:state:acme`)).toBe(0);
});

test('two workers keep the rate of a tenant over two queues in every window, and use it up over ten seconds', async () => {
  const [limit, burst, slots] = [50, 10, 20];
  const queues = ['default', 'side'];
  target = await openTarget();
  await engine.tenants.put('acme', { rate: { limit, periodMs: 1000, burst } });
  const serving = { WORKER_QUEUES: queues.join(','), WORKER_CONCURRENCY: String(slots / 2) };
  await running(start(serving), start(serving));
  // One that is due much later must not slow down the others.
  const later = { task: 'echo', delayMs: 3_600_000 };
  await engine.jobs.enqueue('acme', later, { correlationId: 'limits' });

  let starts: number[] = [];
  const inTenSeconds = await bestOfThree(0.95 * limit * 10, async () => {
    const before = starts.length;
    const { length } = await enqueueCalls('acme', burst + limit * 11, queues);
    await until(() => target.hits.length === before + length);
    starts = await startTimes(queues);
    expect(starts).toHaveLength(before + length);
    // Without those that had been saved up.
    return mostWithin(starts.slice(before + burst), 10_000);
  });
  expect(inTenSeconds).toBeGreaterThanOrEqual(0.95 * limit * 10);

  const hits = target.hits.map(({ at }) => at);
  const windows = [20, 100, 200, 500, 1000, 3000, 10_000];
  const most = (windowMs: number): number => burst + (limit * windowMs) / 1000;
  expect(windows.filter((windowMs) => mostWithin(starts, windowMs) > most(windowMs))).toEqual([]);
  // A call may come in a later window than its start did: there are no more of those than slots.
  expect(windows.filter((windowMs) => mostWithin(hits, windowMs) > most(windowMs) + slots)).toEqual([]);
  // The target sees them later, never sooner: no call went round the gate.
  for (const [place, at] of hits.entries())
    expect(at).toBeGreaterThanOrEqual((starts[place] ?? Infinity) - 5);
});

/** When jobs of these queues started: the events, by the clock of Redis, which is the one that decides. */
async function startTimes(queues: readonly string[]): Promise<number[]> {
  const events = await Promise.all(
    queues.map((queue) =>
      engine.topology.redis.xrange(engine.topology.queue(0, queue).toKey('events'), '-', '+'),
    ),
  );
  return events
    .flat()
    .filter(([, [, event]]) => event === 'active')
    .map(([id]) => Number(id.split('-')[0]))
    .sort((one, other) => one - other);
}

test('tenants without limits run as if those with limits and their backlogs were not there', async () => {
  target = await openTarget();
  await running(start());
  const queue = engine.topology.queue(0, 'default');
  /** How long a tenant's thousand jobs take. */
  const thousand = async (tenant: string): Promise<number> => {
    const startedAt = performance.now();
    const before = await queue.getCompletedCount();
    const jobs = Array.from({ length: 1000 }, (_, payload) => ({ task: 'echo', payload }));
    await engine.jobs.enqueueBatch(tenant, jobs, { correlationId: 'limits' });
    await until(async () => (await queue.getCompletedCount()) >= before + 1000);
    return performance.now() - startedAt;
  };
  await thousand('warm-up');
  const alone = [await thousand('free'), await thousand('free')];

  target.hold(/./);
  await engine.tenants.put('narrow', { maxRunning: 2, weight: 100 });
  await engine.tenants.put('slow', { rate: { limit: 1, periodMs: 600_000 }, weight: 100 });
  await engine.tenants.put('paused', { paused: true, weight: 100 });
  for (const tenant of ['narrow', 'slow', 'paused']) await enqueueCalls(tenant, 1000);
  await until(() => target.open() === 3);
  const beside = [await thousand('free'), await thousand('free'), await thousand('free')];

  // All that finished was theirs, and it took about as long.
  expect(await queue.getCompletedCount()).toBe(6000);
  expect([hitsOf('narrow'), hitsOf('slow'), hitsOf('paused')]).toEqual([2, 1, 0]);
  expect(Math.min(...beside)).toBeLessThan(3 * Math.max(...alone) + 500);
});
