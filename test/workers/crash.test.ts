import { afterEach, expect, test } from '@jest/globals';
import { openEngine } from '../../queues/engine.ts';
import type { Engine } from '../../queues/engine.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { finished, forkWorker, silent, tenantsByShard, until } from './support.ts';
import type { WorkerProcess } from './support.ts';
import { openTarget } from './target.ts';
import type { Target } from './target.ts';

const SHARDS = 4;
const JOBS = 500;
const ENV = {
  WAGGLE_ALLOW_PRIVATE_TARGETS: '1',
  // Longer than a machine with a lot to do keeps a worker that lives from renewing them.
  WORKER_LOCK_MS: '9000',
  WORKER_STALLED_MS: '1000',
};

let engine: Engine;
let target: Target;
let workers: WorkerProcess[] = [];

afterEach(async () => {
  for (const { child } of workers) child.kill('SIGKILL');
  await Promise.all(workers.map((worker) => worker.ended));
  workers = [];
  await target.close();
  await engine.close();
});

async function stateCounts(): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let shard = 0; shard < SHARDS; shard += 1) {
    const all = await engine.topology.queue(shard, 'default').getJobCounts();
    for (const [state, count] of Object.entries(all)) counts[state] = (counts[state] ?? 0) + count;
  }
  return counts;
}

test('every one of 500 jobs ends completed although a worker process is killed in the middle', async () => {
  const redisUrl = await freshRedisUrl();
  engine = await openEngine({ redisUrl, shards: SHARDS, logger: silent });
  target = await openTarget(10);
  const env = { ...ENV, REDIS_URL: redisUrl, WORKER_CONCURRENCY: '20' };
  const [victim, survivor] = [forkWorker(env), forkWorker(env)];
  workers = [victim, survivor];
  await Promise.all(workers.map((worker) => worker.logged('worker is running')));

  const tenants = tenantsByShard(engine, SHARDS);
  const ids = await Promise.all(
    tenants.map(async (tenant) => {
      const requests = Array.from({ length: JOBS / SHARDS }, (_, number) =>
        number % 2 === 0
          ? { task: 'http.request', payload: { url: target.url } }
          : { task: 'echo', payload: { number } },
      );
      const outcomes = await engine.jobs.enqueueBatch(tenant, requests, { correlationId: 'crash' });
      return outcomes.map((outcome) => ('id' in outcome ? outcome.id : ''));
    }),
  );

  // The victim dies with jobs in its hands: it has written some ends, and there is work left for both.
  await until(() => target.hits.length >= 60);
  target.hold(/./);
  await victim.logged('job completed');
  await until(() => target.open() === 40);
  victim.child.kill('SIGKILL');
  expect(await victim.ended).toBe('SIGKILL');
  target.release();

  for (const [shard, tenant] of tenants.entries()) {
    for (const id of ids[shard] ?? []) {
      const job = await finished(engine, tenant, id);
      expect(job).toMatchObject({ state: 'completed', attempts: { made: 1 } });
    }
  }
  await survivor.logged('the worker of a job was lost; the job is back in its queue');
  const { completed, ...others } = await stateCounts();
  expect(completed).toBe(JOBS);
  expect(Object.values(others).every((count) => count === 0)).toBe(true);

  survivor.child.kill('SIGTERM');
  expect(await survivor.ended).toBe(0);
});

test('a worker that was frozen and lost its job writes nothing when it wakes', async () => {
  const redisUrl = await freshRedisUrl();
  engine = await openEngine({ redisUrl, shards: SHARDS, logger: silent });
  target = await openTarget();
  target.hold(/./);
  const env = { ...ENV, REDIS_URL: redisUrl, WORKER_CONCURRENCY: '1' };
  const frozen = forkWorker(env);
  workers = [frozen];
  await frozen.logged('worker is running');
  const request = { task: 'http.request', payload: { url: target.url } };
  const { id } = await engine.jobs.enqueue('acme', request, { correlationId: 'frozen' });
  await until(() => target.open() === 1);
  frozen.child.kill('SIGSTOP');

  const other = forkWorker(env);
  workers.push(other);
  await other.logged('the worker of a job was lost; the job is back in its queue');
  await until(() => target.hits.length === 2);
  frozen.child.kill('SIGCONT');
  await frozen.logged('job is not ours any more; nothing was recorded');
  target.release();
  expect(await finished(engine, 'acme', id)).toMatchObject({
    state: 'completed',
    attempts: { made: 1 },
  });
  await other.logged('job completed');
  expect(frozen.output()).not.toContain('job completed');
});
