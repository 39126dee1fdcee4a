import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { openEngine } from '../../queues/engine.ts';
import type { Engine } from '../../queues/engine.ts';
import { startEmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import type { EmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import { freshRedisUrl, testRedisUrl } from '../support/redis.ts';
import { finished, forkWorker, silent, until } from './support.ts';
import type { WorkerProcess } from './support.ts';
import { openTarget } from './target.ts';
import type { Target } from './target.ts';
import { freePort } from '../support/ports.ts';

let engine: Engine | undefined;
let redis: EmbeddedRedis | undefined;
let target: Target | undefined;
let workers: WorkerProcess[] = [];

afterEach(async () => {
  for (const { child } of workers) child.kill('SIGKILL');
  await Promise.all(workers.map((worker) => worker.ended));
  workers = [];
  await engine?.close();
  engine = undefined;
  await redis?.stop();
  await target?.close();
  redis = target = undefined;
});

async function start(env: Record<string, string>): Promise<WorkerProcess> {
  const worker = forkWorker({ WAGGLE_SHARDS: '1', WAGGLE_ALLOW_PRIVATE_TARGETS: '1', ...env });
  workers.push(worker);
  await worker.logged('worker is running');
  return worker;
}

async function enqueue(task: string, payload: unknown): Promise<string> {
  if (engine === undefined) throw new Error('no engine');
  return (await engine.jobs.enqueue('acme', { task, payload }, { correlationId: 'c' })).id;
}

/** A job that runs until its target is released. */
async function runHeld(): Promise<{ id: string; release: () => void }> {
  const held = (target = await openTarget());
  held.hold(/./);
  const id = await enqueue('http.request', { url: held.url });
  await until(() => held.open() === 1);
  return { id, release: () => held.release() };
}

async function active(id: string): Promise<void> {
  await until(async () => (await engine?.jobs.get('acme', id))?.state === 'active');
}

describe('SIGTERM', () => {
  test('hands a long job back without an attempt spent, to the front, and another worker finishes it', async () => {
    const redisUrl = await freshRedisUrl();
    engine = await openEngine({ redisUrl, shards: 1, logger: silent });
    const first = await start({ REDIS_URL: redisUrl, WORKER_CONCURRENCY: '1', WORKER_DRAIN_MS: '500' });
    const { id: long, release } = await runHeld();
    const behind = await enqueue('echo', 'behind');

    first.child.kill('SIGTERM');
    expect(await first.ended).toBe(0);
    expect(first.output()).toContain('"msg":"job handed back"');
    const queue = engine.topology.queue(0, 'default');
    expect(await engine.jobs.get('acme', long)).toMatchObject({ state: 'waiting', attempts: { made: 0 } });
    expect(await queue.getBackend().getWaitingInGroup('acme')).toEqual([long, behind]);

    const second = await start({ REDIS_URL: redisUrl, WORKER_CONCURRENCY: '1' });
    release();
    expect(await finished(engine, 'acme', long)).toMatchObject({
      state: 'completed',
      attempts: { made: 1 },
    });
    expect(await finished(engine, 'acme', behind)).toMatchObject({ state: 'completed' });
    second.child.kill('SIGINT');
    expect(await second.ended).toBe(0);
  });

  test('lets a job finish that ends before the drain deadline, and claims no other', async () => {
    const redisUrl = await freshRedisUrl();
    engine = await openEngine({ redisUrl, shards: 1, logger: silent });
    const worker = await start({ REDIS_URL: redisUrl, WORKER_CONCURRENCY: '1', WORKER_DRAIN_MS: '60000' });
    const { id: job, release } = await runHeld();
    const next = await enqueue('echo', 1);
    worker.child.kill('SIGTERM');
    await worker.logged('draining');
    release();
    expect(await worker.ended).toBe(0);
    expect(await engine.jobs.get('acme', job)).toMatchObject({ state: 'completed' });
    expect(await engine.jobs.get('acme', next)).toMatchObject({ state: 'waiting' });
  });

  test('a worker that drains is not ready; a second signal ends it at once', async () => {
    const redisUrl = await freshRedisUrl();
    engine = await openEngine({ redisUrl, shards: 1, logger: silent });
    const port = await freePort();
    const worker = await start({
      REDIS_URL: redisUrl,
      WORKER_DRAIN_MS: '60000',
      WORKER_PORT: String(port),
    });
    const ready = async (): Promise<number> => (await fetch(`http://127.0.0.1:${port}/readyz`)).status;
    expect(await ready()).toBe(200);
    await active(await enqueue('sleep', { ms: 60_000 }));
    worker.child.kill('SIGTERM');
    await worker.logged('draining');
    expect(await ready()).toBe(503);
    worker.child.kill('SIGTERM');
    expect(await worker.ended).toBe(1);
  });

  test('a worker whose Redis is gone ends all the same', async () => {
    redis = await startEmbeddedRedis();
    engine = await openEngine({ redisUrl: redis.url, shards: 1, logger: silent });
    const worker = await start({ REDIS_URL: redis.url, WORKER_DRAIN_MS: '300' });
    await active(await enqueue('sleep', { ms: 60_000 }));
    await redis.stop();
    worker.child.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    expect(worker.output()).toContain('jobs could not be handed back');
  });
});

describe('start', () => {
  test('a bad setting ends the process with its name', async () => {
    const worker = forkWorker({ WORKER_CONCURRENCY: 'many' });
    workers.push(worker);
    expect(await worker.ended).toBe(2);
    expect(worker.output()).toContain('WORKER_CONCURRENCY');
  });

  test('waits for a Redis that is not there yet, alive and not ready, and ends when told', async () => {
    const port = await freePort();
    const away = `127.0.0.1:${await freePort()}`;
    const worker = forkWorker({ REDIS_URL: `redis://user:hidden@${away}`, WORKER_PORT: String(port) });
    workers.push(worker);
    await until(() => worker.output().split('Redis is not available; trying again').length > 2);
    // Once, and without the password.
    const errors = worker.output().match(/^\{"level":50.*$/gm) ?? [];
    expect(errors).toHaveLength(1);
    expect(errors[0]).toContain(`REDIS_URL: Redis at redis://${away} cannot be reached`);
    expect(worker.output()).not.toContain('hidden');
    expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200);
    expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(503);
    worker.child.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
  });

  test('says which setting names a port that somebody else listens on', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, resolve));
    const { port } = taken.address() as AddressInfo;
    const worker = forkWorker({ REDIS_URL: testRedisUrl(), WORKER_PORT: String(port) });
    workers.push(worker);
    expect(await worker.ended).toBe(1);
    taken.close();
    expect(worker.output()).toContain(`WORKER_PORT: port ${port} cannot be listened on`);
    expect(worker.output()).not.toContain('"stack"');
  });

  test('refuses a Redis that was set up for another number of shards', async () => {
    const redisUrl = await freshRedisUrl();
    engine = await openEngine({ redisUrl, shards: 2, logger: silent });
    const worker = forkWorker({ REDIS_URL: redisUrl, WAGGLE_SHARDS: '3' });
    workers.push(worker);
    expect(await worker.ended).toBe(1);
    expect(worker.output()).toContain('WAGGLE_SHARDS=2');
  });
});
