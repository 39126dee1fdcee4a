import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createIORedisClient } from 'bullmq';
import type { Job, JobsOptions } from 'bullmq';
import { SentBeforeError } from '../../queues/once/types.ts';
import { fairScripts } from '../../queues/fair/scripts.ts';
import { StreamWriter } from '../../queues/streams/writer.ts';
import type { Job as WaggleJob } from '../../src/shared/schemas.ts';
import { eventually } from '../support/eventually.ts';
import { startRedisCluster } from '../support/redis-cluster.ts';
import type { RedisCluster } from '../support/redis-cluster.ts';
import { inLab } from './fair/bullmq-lab.ts';
import type { Lab } from './fair/bullmq-lab.ts';
import { allCases, observe } from './fair/observe.ts';
import { context, failure, openTestEngine } from './support/engine.ts';
import type { TestEngine } from './support/engine.ts';
import { latch } from './support/latch.ts';

const SHARDS = 4;

let cluster: RedisCluster;

beforeAll(async () => {
  cluster = await startRedisCluster();
});
afterAll(() => cluster.stop());

/**
 * What BullMQ itself does not do on a cluster, on stock either. Its pause of a worker disconnects the connection it
 * blocks on, and never returns when that was still connecting; its search for orphans scans whichever node it meets.
 */
const NOT_IN_A_CLUSTER = [
  'pause and resume of a worker',
  'removeOrphanedJobs leaves every job that is somewhere',
];

describe.each(allCases)('BullMQ on the fair backend, %s', (_, cases) => {
  const here = Object.entries(cases).filter(([name]) => !NOT_IN_A_CLUSTER.includes(name));
  test.each(here)('%s', async (name, run) => {
    const [server, spread] = await Promise.all([
      observe('fair', name, run),
      observe('fair', name, run, cluster.url),
    ]);
    expect(spread).toEqual(server);
  });
});

test('operations of BullMQ that no case uses', async () => {
  const run = async (lab: Lab): Promise<void> => {
    const queue = lab.queue();
    const flow = await lab.addFlow({
      name: 'parent',
      queueName: 'q',
      children: [{ name: 'child', queueName: 'q' }],
    });
    expect(await flow.job.getDependenciesCount()).toMatchObject({ unprocessed: 1 });
    expect(await flow.job.getState()).toBe('waiting-children');
    const { unprocessed = [] } = await flow.job.getDependencies({ unprocessed: { count: 1 } });
    expect(unprocessed).toHaveLength(1);
    const hand = lab.hand();
    const job = await hand.getNextJob('hand', { block: false });
    if (!job?.id) throw new Error('no job');
    expect(await job.extendLock('hand', 10_000)).toBe(1);
    await queue.upsertJobScheduler('s', { every: 3_600_000 });
    expect(await queue.getJobScheduler('s')).toMatchObject({ key: 's' });
    await queue.add('once', {}, { deduplication: { id: 'd' }, jobId: 'first' });
    expect(await (await queue.getJob('first'))?.removeDeduplicationKey()).toBe(true);
    const backend = lab.backend(queue);
    expect(await backend.extendLocks([job.id], ['hand'], 10_000)).toEqual([]);
    expect(await backend.isFinished(job.id)).toBe(0);
    expect((await queue.getDependencies('parent', 'pending', 0, 10)).items).toHaveLength(1);
    // BullMQ calls these for old servers only, not at all, or (orphans) after a scan of one node.
    const client = createIORedisClient(lab.redis as Parameters<typeof createIORedisClient>[0]);
    const key = (type: string): string => backend.toKey(type);
    const states = [
      'completed',
      'failed',
      'delayed',
      'active',
      'wait',
      'paused',
      'waiting-children',
      'prioritized',
    ];
    expect(await backend.execCommand(client, 'getState', [...states.map(key), job.id])).toBe('active');
    const orphans = [key(''), 1, 'active', 1, 'logs', job.id];
    expect(await backend.execCommand(client, 'removeOrphanedJobs', orphans)).toBe(0);
    await backend.execCommand(client, 'isJobInList', [key('active'), job.id]);
    await backend.execCommand(client, 'saveStacktrace', [key(job.id), '[]', 'why']);
    await backend.execCommand(client, 'releaseLock', [`${key(job.id)}:lock`, 'hand', job.id]);
  };
  await inLab('fair', run, cluster.url);
});

test('no script runs over half a queue while its slot moves to another node', async () => {
  const inMidMove = async (lab: Lab): Promise<void> => {
    const queue = lab.queue();
    const backend = lab.backend(queue);
    const hand = lab.hand();
    await backend.setGroupLimits('g', { maxRunning: 2 });
    const opts = { group: { id: 'g' } } as JobsOptions;
    await queue.addBulk(Array.from({ length: 5 }, () => ({ name: 'job', data: {}, opts })));
    const take = (): Promise<Job | undefined> => hand.getNextJob('hand', { block: false });
    const [first] = [await take(), await take()];

    const home = await cluster.ownerOf(lab.prefix);
    const away = cluster.nodes.find((node) => node !== home) ?? home;
    const told = await toldToTryAgain();
    let calls: Promise<unknown>[] = [];
    let settled = 0;
    await cluster.moveSlotOf(lab.prefix, away, {
      // What the scheduler knows of running jobs, but not the list of them.
      moved: /:(meta|fair:idx|fair:slots|fair:limits|fair:state:g|marker)$/,
      async then() {
        calls = [
          backend.repairSlots(),
          backend.getRunnableWeight(),
          // Three jobs wait.
          backend.reserveRoom('g', 4, 4),
          backend.setGroupLimits('g', { maxRunning: 2, weight: 2 }),
          Promise.resolve(first?.moveToCompleted('done', 'hand', false)),
        ];
        for (const call of calls) void call.finally(() => (settled += 1)).catch(() => undefined);
        await eventually('all were told to try again', async () => {
          return settled + (await toldToTryAgain()) - told >= calls.length;
        });
      },
    });
    const [repairs, weight, room] = await Promise.all(calls);
    expect(repairs).toEqual({ released: 0, adopted: 0, keys: 0, parked: 0 });
    expect([0, 1, 2]).toContain(weight);
    expect(room).toMatchObject({ jobs: 1 });
    expect(await backend.repairSlots()).toEqual({ released: 0, adopted: 0, keys: 0, parked: 0 });
    expect(await queue.getJobCounts('active', 'completed', 'wait')).toEqual({
      active: 1,
      completed: 1,
      wait: 3,
    });
    expect(await take()).toBeDefined();
    expect(await take()).toBeUndefined();
  };
  await inLab('fair', inMidMove, cluster.url);
});

/** How often the nodes have answered TRYAGAIN so far. */
async function toldToTryAgain(): Promise<number> {
  const stats = await Promise.all(cluster.nodes.map(({ redis }) => redis.info('errorstats')));
  return stats.reduce((sum, text) => sum + Number(/TRYAGAIN:count=(\d+)/.exec(text)?.[1] ?? 0), 0);
}

describe('Waggle with a tenant in each of four shards', () => {
  let engine: TestEngine;
  let tenants: string[];

  beforeAll(async () => {
    engine = await openTestEngine({ redisUrl: cluster.url, shards: SHARDS });
    tenants = [];
    for (let number = 0; tenants.filter(Boolean).length < SHARDS; number += 1)
      tenants[engine.topology.shardOf(`tenant-${number}`)] ??= `tenant-${number}`;
  });
  afterAll(() => engine.close());

  const enqueue = async (tenant: string, fields: Record<string, unknown> = {}): Promise<string> =>
    (await engine.jobs.enqueue(tenant, { task: 'work', ...fields }, context)).id;
  const ended = (tenant: string, id: string): Promise<WaggleJob> =>
    engine.jobs.waitUntilFinished(tenant, id, 60_000);

  test('the shards are spread over more than one node', async () => {
    const owners = await Promise.all(
      tenants.map((_, shard) => cluster.ownerOf(engine.topology.prefix(shard))),
    );
    expect(new Set(owners).size).toBeGreaterThan(1);
  });

  test('jobs run, are awaited and listed, and flows end, also by failure', async () => {
    for (const tenant of tenants) {
      engine.work(tenant, ({ data: { payload } }) => {
        if (payload === 'fail') throw failure('wanted');
        return payload;
      });
      expect(await ended(tenant, await enqueue(tenant, { payload: 1 }))).toMatchObject({ result: 1 });
      const batch = Array.from({ length: 20 }, (_, payload) => ({
        task: 'work',
        payload,
        priority: payload % 3,
      }));
      for (const outcome of await engine.jobs.enqueueBatch(tenant, batch, context))
        expect((await ended(tenant, 'id' in outcome ? outcome.id : '')).state).toBe('completed');

      const children = [
        { task: 'work' },
        { task: 'work', delayMs: 3_600_000 },
        { task: 'work', payload: 'fail' },
      ];
      const good = await engine.flows.enqueue(
        tenant,
        { task: 'work', children: [{ task: 'work' }] },
        context,
      );
      const bad = await engine.flows.enqueue(tenant, { task: 'work', children }, context);
      await ended(tenant, good.id);
      expect((await engine.flows.get(tenant, good.id)).state).toBe('completed');
      await ended(tenant, bad.id);
      expect(await engine.flows.cancelUnstarted(tenant, bad.id)).toBe(1);

      const { jobs, nextCursor } = await engine.jobs.list(tenant, { limit: 10 });
      expect(jobs).toHaveLength(10);
      expect((await engine.jobs.list(tenant, { limit: 10, cursor: nextCursor ?? '' })).jobs[0]).toBeDefined();
      expect(await engine.retention.sweep(engine.topology.shardOf(tenant), 100)).toBe(0);
    }
  });

  test('repeated requests and deduplicated jobs are known', async () => {
    for (const tenant of tenants) {
      const once = { key: 'k', fingerprint: 'f', leaseMs: 60_000 };
      const dedupe = { id: 'd', mode: 'debounce' as const, ttlMs: 3_600_000 };
      const request = { task: 'work', queue: 'idle', dedupe };
      const first = await engine.jobs.accept(tenant, request, { ...context, once });
      expect(first.isNew).toBe(true);
      await expect(engine.repeats.find(tenant, once)).rejects.toMatchObject({
        code: 'idempotency_in_progress',
      });
      const answer = { status: 202, headers: {}, body: first.job };
      expect(await engine.repeats.keep(tenant, once, answer)).toEqual(answer);
      expect(await engine.repeats.find(tenant, once)).toEqual({ outcomes: [first.job.id], answer });
      await expect(engine.jobs.accept(tenant, request, { ...context, once })).rejects.toThrow(
        SentBeforeError,
      );
      const again = await engine.jobs.accept(tenant, { ...request, payload: 2 }, context);
      expect(again).toMatchObject({ isNew: false, job: { id: first.job.id, payload: 2, state: 'delayed' } });
      const flow = { task: 'work', queue: 'idle', children: [{ task: 'work', queue: 'side' }] };
      const other = { ...once, key: 'flow' };
      const { jobs } = await engine.flows.enqueue(tenant, flow, { ...context, once: other });
      await engine.repeats.giveUp(tenant, other);
      expect(await engine.repeats.find(tenant, other)).toEqual({
        outcomes: Object.values(jobs),
        answer: null,
      });
    }
  });

  test('a limit of a whole queue has a part in every shard', async () => {
    await engine.overall.queues.put('capped', { maxRunning: SHARDS });
    const opened = latch();
    for (const tenant of tenants) {
      engine.work(tenant, () => opened.opened, { queue: 'capped' });
      await Promise.all([1, 2].map(() => enqueue(tenant, { queue: 'capped' })));
    }
    const counts = (): Promise<{ active?: number; waiting?: number }[]> =>
      Promise.all(
        tenants.map((_, shard) => engine.topology.queue(shard, 'capped').getJobCounts('active', 'waiting')),
      );
    const each = { active: 1, waiting: 1 };
    await eventually('one runs in each shard', async () =>
      (await counts()).every(({ active }) => active === 1),
    );
    expect(await counts()).toEqual(tenants.map(() => each));
    opened.open();
    await engine.overall.queues.remove('capped');
    await eventually('all have run', async () =>
      (await counts()).every(({ active = 0, waiting = 0 }) => active + waiting === 0),
    );
  });

  test('limits, pauses, keys and reasons', async () => {
    const waiting = { queue: 'gated' };
    await engine.tenants.put('*', { weight: 2 });
    for (const [shard, tenant] of tenants.entries()) {
      const queue = engine.topology.queue(shard, 'gated');
      await engine.tenants.put(tenant, { maxRunning: 1, paused: true, maxWaiting: 100 });
      const id = await enqueue(tenant, waiting);
      const { blockedBy } = await engine.jobs.why(tenant, id);
      expect(blockedBy.map(({ gate }) => gate)).toContain('tenant_paused');
      expect(await queue.getBackend().getRunnableWeight()).toBe(0);
      expect(await queue.getBackend().getLine()).toMatchObject({ runnable: 0, held: 1 });
      await engine.tenants.put(tenant, { maxRunning: 1 });

      const open = latch();
      const running = latch();
      engine.work(
        tenant,
        ({ data: { payload } }) => {
          if (payload !== 'hold') return null;
          running.open();
          return open.opened;
        },
        waiting,
      );
      await ended(tenant, id);
      const keyed = { ...waiting, key: 'k', keyStrategy: 'cancel-running' };
      const holds = await enqueue(tenant, { ...keyed, payload: 'hold' });
      await running.opened;
      // More than one script supersedes.
      const queued = { task: 'work', ...waiting, key: 'k' };
      await engine.jobs.enqueueBatch(
        tenant,
        Array.from({ length: 60 }, () => queued),
        context,
      );
      const second = await enqueue(tenant, keyed);
      const third = await enqueue(tenant, keyed);
      expect((await ended(tenant, second)).state).toBe('cancelled');
      expect(await queue.getBackend().repairSlots()).toEqual({ released: 0, adopted: 0, keys: 0, parked: 0 });
      // As if the grace of the running one were over.
      await engine.topology.redis.zadd(queue.toKey('fair:cancels'), 1, holds);
      // A worker's own sweep may have been first.
      await engine.endings.sweep(shard, 'gated');
      expect((await ended(tenant, holds)).state).toBe('cancelled');
      expect((await ended(tenant, third)).state).toBe('completed');
      open.open();
    }
  });

  test('what a job writes is followed and read', async () => {
    for (const [shard, tenant] of tenants.entries()) {
      const id = await enqueue(tenant, { queue: 'idle' });
      const { redis, keys } = engine.topology;
      const owner = { shard, tenant, id, retainMs: { completed: 60_000, failed: 60_000 } };
      const enough = new AbortController();
      const events = await engine.streams.follow(tenant, id, {
        lastEventId: undefined,
        signal: enough.signal,
      });
      const seen: string[] = [];
      for await (const { event } of events ?? []) {
        seen.push(event);
        if (event === 'chunk') break;
        await new StreamWriter(redis, keys).write(owner, 'chunk', '1');
      }
      enough.abort();
      expect(seen).toEqual(['state', 'chunk']);
      expect(await engine.streams.logs(tenant, id, { limit: 10 })).toEqual({ lines: [], nextCursor: null });
    }
  });

  test('a tenant is removed with all it has, running or not', async () => {
    const [tenant, open, running] = ['leaving', latch(), latch()];
    engine.work(
      tenant,
      () => {
        running.open();
        return open.opened;
      },
      { queue: 'left' },
    );
    const runs = await enqueue(tenant, { queue: 'left' });
    await running.opened;
    const waits = await enqueue(tenant, { queue: 'left-waiting' });
    expect(await engine.purges.purge(tenant, () => true)).toMatchObject({ removed: 2, done: true });
    for (const id of [runs, waits])
      await expect(engine.jobs.get(tenant, id)).rejects.toMatchObject({ code: 'not_found' });
    open.open();
  });

  test('jobs are found, changed, cancelled, retried and removed', async () => {
    for (const tenant of tenants) {
      const id = await enqueue(tenant, { queue: 'controlled', tags: ['t'], delayMs: 3_600_000 });
      const found = async (filter: object): Promise<string[]> =>
        (await engine.jobs.list(tenant, { limit: 5, ...filter })).jobs.map((job) => job.id);
      expect(await found({ tag: 't' })).toEqual([id]);
      expect(await found({ queue: 'controlled' })).toEqual([id]);
      expect(await found({ state: 'delayed', queue: 'controlled' })).toEqual([id]);
      const { control } = engine;
      expect((await control.amend(tenant, id, { priority: 3 })).priority).toBe(3);
      expect((await control.promote(tenant, id)).state).toBe('waiting');
      const request = { reason: 'no', graceMs: 0 };
      expect((await control.cancel(tenant, id, request)).state).toBe('cancelled');
      expect(await found({ state: 'cancelled', tag: 't' })).toEqual([id]);
      expect((await control.retry(tenant, id)).state).toBe('waiting');
      expect(await found({ state: 'cancelled', tag: 't' })).toEqual([]);
      await control.remove(tenant, id);
      expect(await found({ tag: 't' })).toEqual([]);

      const open = latch();
      engine.work(tenant, () => open.opened, { queue: 'stopped' });
      const running = await enqueue(tenant, { queue: 'stopped' });
      await eventually('it runs', async () => (await engine.jobs.get(tenant, running)).state === 'active');
      expect((await control.cancel(tenant, running, request)).state).toBe('cancelled');
      open.open();
      await engine.jobs.enqueueBatch(
        tenant,
        Array.from({ length: 16 }, () => ({ task: 'echo' })),
        context,
      );
    }
  });

  test('usage', async () => {
    const tenant = 'acme';
    const shard = engine.topology.shardOf(tenant);
    const counts = { started: 2, units: 3, completed: 1 };
    await engine.usageBook.add(shard, { sender: 'me', number: 1, tenants: [{ tenant, counts }] });
    const { windows } = await engine.usage.of(tenant);
    expect(windows[0]).toMatchObject({ started: 2, share: { received: 1 } });
  });

  test('API keys', async () => {
    const request = { scopes: ['jobs:read' as const], expiresAt: null };
    const { secret } = await engine.apiKeys.create('acme', request);
    expect(await engine.apiKeys.verify(secret)).toMatchObject({ tenant: 'acme' });
  });
});

describe('at the end', () => {
  test('every script there is has run on some node', async () => {
    const scripts = [
      ...fairScripts({ unprioritized: 'first', listsFailed: false }).map(({ name, content }) => ({
        name,
        texts: [content],
      })),
      ...luaFiles().map((path) => ({ name: path, texts: [readFileSync(path, 'utf8')] })),
    ];
    for (const { name, content } of fairScripts({ unprioritized: 'last', listsFailed: true }))
      scripts.find((script) => script.name === name)?.texts.push(content);
    const ran = new Set<string>();
    for (const { redis } of cluster.nodes) {
      for (const { name, texts } of scripts) {
        const known = await redis.script('EXISTS', ...texts.map(sha1));
        if ((known as number[]).includes(1)) ran.add(name);
      }
    }
    expect(scripts.map(({ name }) => name).filter((name) => !ran.has(name))).toEqual([]);
  });

  test('no command named keys of two slots', async () => {
    for (const { redis } of cluster.nodes) {
      expect(await redis.info('errorstats')).not.toContain('CROSSSLOT');
    }
  });
});

/** Those that are scripts by themselves; the fair backend puts its own together of parts. */
function luaFiles(): string[] {
  return readdirSync('queues', { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.lua') && !path.startsWith('fair/'))
    .map((path) => `queues/${path}`);
}

/** A node knows the scripts it has run by this. */
const sha1 = (text: string): string => createHash('sha1').update(text).digest('hex');
