import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { openEngine } from '../../queues/engine.ts';
import type { Engine } from '../../queues/engine.ts';
import { echo } from '../../queues/tasks/echo.ts';
import { handle } from '../../workers/handlers/registry.ts';
import { startApi } from '../api/support/api.ts';
import type { Api } from '../api/support/api.ts';
import { startRedisCluster } from '../support/redis-cluster.ts';
import type { RedisCluster } from '../support/redis-cluster.ts';
import { finished, forkWorker, median, openTestWaggle, silent, tenantsByShard, until } from './support.ts';
import type { WorkerProcess } from './support.ts';
import { openTarget } from './target.ts';
import type { Target } from './target.ts';

const SHARDS = 4;

let cluster: RedisCluster;
let engine: Engine;
let api: Api | undefined;
let target: Target | undefined;
let workers: WorkerProcess[] = [];

beforeAll(async () => {
  cluster = await startRedisCluster();
  engine = await openEngine({ redisUrl: cluster.url, shards: SHARDS, logger: silent });
  await startTwoWorkers();
});

afterEach(async () => {
  await api?.stop();
  await target?.close();
  api = target = undefined;
});

afterAll(async () => {
  for (const { child } of workers) child.kill('SIGTERM');
  expect(await Promise.all(workers.map((worker) => worker.ended))).toEqual([0, 0]);
  await engine.close();
  await cluster.stop();
});

async function startTwoWorkers(): Promise<void> {
  const env = {
    REDIS_URL: cluster.url,
    WAGGLE_SHARDS: String(SHARDS),
    WAGGLE_ALLOW_PRIVATE_TARGETS: '1',
    WORKER_CONCURRENCY: '20',
    LOG_LEVEL: 'info',
  };
  workers = [forkWorker(env), forkWorker(env)];
  await Promise.all(workers.map((worker) => worker.logged('worker is running')));
}

/** Jobs that call the target at `/<tenant>/<number>`. */
async function enqueueCalls(tenant: string, count: number, from = 0): Promise<string[]> {
  const jobs = Array.from({ length: count }, (_, place) => ({
    task: 'http.request',
    payload: { url: `${target?.url}/${tenant}/${from + place}` },
  }));
  const outcomes = await engine.jobs.enqueueBatch(tenant, jobs, { correlationId: 'cluster' });
  return outcomes.map((outcome) => ('id' in outcome ? outcome.id : ''));
}

async function unfinished(): Promise<number> {
  let count = 0;
  for (let shard = 0; shard < SHARDS; shard += 1) {
    const { completed: _, ...others } = await engine.topology.queue(shard, 'default').getJobCounts();
    count += Object.values(others).reduce((sum, each) => sum + each, 0);
  }
  return count;
}

test('the API and two workers run jobs, a flow and a limit on a cluster', async () => {
  target = await openTarget(10);
  api = await startApi(cluster.url, { WAGGLE_SHARDS: String(SHARDS) });
  for (const tenant of tenantsByShard(engine, SHARDS)) {
    const token = await api.key(tenant);
    const body = { task: 'echo', payload: tenant };
    const headers = { Prefer: 'wait=60' };
    const job = await api.call('POST', '/v1/jobs', { token, body, headers });
    expect(job.json).toMatchObject({ state: 'completed', result: tenant });
    const tree = { task: 'echo', children: [{ task: 'echo' }, { task: 'echo', name: 'second' }] };
    const flow = await api.call('POST', '/v1/flows', { token, body: { tree } });
    expect(flow.status).toBe(202);
    await finished(engine, tenant, flow.json.id as string);
    expect((await engine.flows.get(tenant, flow.json.id as string)).state).toBe('completed');
  }
  const limited = await api.admin('PUT', '/v1/tenants/acme', { body: { maxRunning: 3 } });
  expect(limited.status).toBeLessThan(300);
  target.hold(/./);
  const ids = await enqueueCalls('acme', 100);
  await until(() => target?.open() === 3);
  target.release();
  for (const id of ids) expect((await finished(engine, 'acme', id)).state).toBe('completed');
  expect(target.peak()).toBe(3);
  expect(target.hits).toHaveLength(100);
  expect(await unfinished()).toBe(0);
});

test('a busy shard moves to another node and back: no job is lost, a limit holds, all drains', async () => {
  const moving = (target = await openTarget(50));
  const [tenant = ''] = tenantsByShard(engine, SHARDS);
  await engine.tenants.put(tenant, { maxRunning: 3 });
  const prefix = engine.topology.prefix(engine.topology.shardOf(tenant));
  const home = await cluster.ownerOf(prefix);
  const away = cluster.nodes.find((node) => node !== home) ?? home;

  const ids = await enqueueCalls(tenant, 150);
  for (const node of [away, home]) {
    const before = moving.hits.length;
    await until(() => moving.hits.length >= before + 20);
    expect(await cluster.moveSlotOf(prefix, node)).toBeGreaterThan(100);
    expect(await cluster.ownerOf(prefix)).toBe(node);
    ids.push(...(await enqueueCalls(tenant, 30, ids.length)));
  }
  for (const id of ids) expect((await finished(engine, tenant, id)).state).toBe('completed');
  const calls = new Map<string, number>();
  for (const { path } of moving.hits) calls.set(path, (calls.get(path) ?? 0) + 1);
  expect(calls.size).toBe(ids.length);
  // An attempt that could not be recorded is run again; nothing here takes that long.
  expect([...calls.values()].filter((count) => count > 1)).toEqual([]);
  expect(moving.peak()).toBeLessThanOrEqual(3);
  expect(await unfinished()).toBe(0);
  const queue = engine.topology.queue(engine.topology.shardOf(tenant), 'default');
  expect(await queue.getBackend().repairSlots()).toEqual({ released: 0, adopted: 0, keys: 0, parked: 0 });
});

test('a job of an idle worker starts at once: it is rung for, not polled for', async () => {
  const waggle = await openTestWaggle({
    handlers: [handle(echo, ({ job }) => job.payload)],
    shards: SHARDS,
    redisUrl: cluster.url,
  });
  waggle.startWorker();
  const tookMs: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    for (const tenant of tenantsByShard(waggle.engine, SHARDS)) {
      const id = await waggle.enqueue(tenant, 'echo', round);
      const { createdAt, startedAt } = await waggle.finished(tenant, id);
      tookMs.push(Date.parse(startedAt ?? '') - Date.parse(createdAt));
    }
  }
  await waggle.close();
  // Polling, every 5 s, would make it 2.5 s.
  expect(median(tookMs)).toBeLessThan(1500);
});
