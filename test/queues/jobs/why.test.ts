import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Why } from '../../../src/shared/schemas.ts';
import { latch } from '../support/latch.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine } from '../support/engine.ts';

let engine: TestEngine;
beforeAll(async () => {
  engine = await openTestEngine();
});
afterAll(() => engine.close());

/** Each test has queues of its own; a worker is said to serve them. */
async function served(tenant: string, ...queues: string[]): Promise<void> {
  await engine.presence.announce(engine.topology.shardOf(tenant), queues, 'here');
}

async function enqueue(tenant: string, queue: string, fields: Record<string, unknown> = {}): Promise<string> {
  return (await engine.jobs.enqueue(tenant, { task: 'work', queue, ...fields }, context)).id;
}

const gates = (why: Why): string[] => why.blockedBy.map((each) => each.gate);

test('nothing but its turn: how many tenants and jobs are before it', async () => {
  // Three tenants of one shard.
  const names = Array.from({ length: 40 }, (_, i) => `turn-${i}`);
  const [a = '', b = '', c = ''] = names.filter((name) => engine.topology.shardOf(name) === 0);
  await served(a, 'turn');
  await enqueue(a, 'turn');
  await enqueue(b, 'turn');
  await enqueue(c, 'turn');
  const last = await enqueue(c, 'turn');
  const why = await engine.jobs.why(c, last);
  expect(why).toMatchObject({ state: 'waiting', runnable: true, position: { inTenant: 1, tenantsAhead: 2 } });
  expect(gates(why)).toEqual(['fair_turn']);
});

test('nobody serves its queue', async () => {
  const id = await enqueue('lonely', 'unserved');
  const why = await engine.jobs.why('lonely', id);
  expect(why.runnable).toBe(false);
  expect(gates(why)).toEqual(['no_worker']);
});

test('not due, and when it will be', async () => {
  const runAt = new Date(Date.now() + 3_600_000).toISOString();
  const id = await enqueue('later', 'later', { runAt });
  expect(await engine.jobs.why('later', id)).toMatchObject({
    state: 'delayed',
    runnable: false,
    blockedBy: [{ gate: 'delayed', until: runAt }],
    estimatedStartAt: runAt,
  });
});

test('a paused tenant, with and without an end', async () => {
  await served('paused', 'paused');
  const id = await enqueue('paused', 'paused');
  await engine.tenants.pause('paused', null);
  const forEver = await engine.jobs.why('paused', id);
  expect(forEver).toMatchObject({
    runnable: false,
    estimatedStartAt: null,
    position: { tenantsAhead: null },
  });
  expect(forEver.blockedBy).toEqual([{ gate: 'tenant_paused', detail: expect.any(String), until: null }]);
  await engine.tenants.pause('paused', 60_000);
  const forAMinute = await engine.jobs.why('paused', id);
  const until = Date.parse(forAMinute.blockedBy[0]?.until ?? '');
  expect(Math.abs(until - Date.now() - 60_000)).toBeLessThan(30_000);
  expect(forAMinute.estimatedStartAt).toBe(forAMinute.blockedBy[0]?.until);
  await engine.tenants.resume('paused');
  expect(gates(await engine.jobs.why('paused', id))).toEqual(['fair_turn']);
});

test('limits of the tenant and its key, each named', async () => {
  await served('limited', 'limited');
  await engine.tenants.put('limited', { maxRunning: 1, rate: { limit: 1, periodMs: 3_600_000 } });
  const started = latch();
  const go = latch();
  const running = await enqueue('limited', 'limited', { key: 'k' });
  const behind = await enqueue('limited', 'limited', { key: 'k' });
  const free = await enqueue('limited', 'limited');
  engine.work(
    'limited',
    async () => {
      started.open();
      await go.opened;
    },
    { queue: 'limited' },
  );
  await started.opened;
  const why = await engine.jobs.why('limited', free);
  expect(gates(why)).toEqual(['tenant_concurrency', 'tenant_rate']);
  expect(why.estimatedStartAt).toBeNull();
  const keyed = await engine.jobs.why('limited', behind);
  expect(gates(keyed)).toContain('key');
  expect(keyed.blockedBy.find((each) => each.gate === 'key')?.detail).toContain(running);
  expect(await engine.jobs.why('limited', running)).toMatchObject({ state: 'active', blockedBy: [] });
  go.open();
  await engine.jobs.waitUntilFinished('limited', running, 60_000);
  const rated = await engine.jobs.why('limited', free);
  expect(gates(rated)).toEqual(['tenant_rate']);
  expect(Date.parse(rated.estimatedStartAt ?? '')).toBeGreaterThan(Date.now() + 3_000_000);
});

test('a paused queue, and one at its concurrency', async () => {
  await served('queued', 'halted');
  const id = await enqueue('queued', 'halted');
  const queue = engine.topology.queue(engine.topology.shardOf('queued'), 'halted');
  await queue.pause();
  expect(gates(await engine.jobs.why('queued', id))).toEqual(['queue_paused']);
  await queue.resume();
  await queue.setGlobalConcurrency(0);
  expect(gates(await engine.jobs.why('queued', id))).toEqual(['queue_concurrency']);
});

test("a flow's parent waits for its children", async () => {
  const children = [
    { task: 'work', queue: 'kids' },
    { task: 'work', queue: 'kids' },
  ];
  const flow = await engine.flows.enqueue('parent', { task: 'work', queue: 'parents', children }, context);
  const why = await engine.jobs.why('parent', flow.id);
  expect(why.state).toBe('waiting-children');
  expect(why.blockedBy).toEqual([
    { gate: 'children', detail: expect.stringContaining('2 of its children'), until: null },
  ]);
});

test('what is not there, or another tenant owns, is not found', async () => {
  const id = await enqueue('owner', 'owned');
  await expect(engine.jobs.why('other', id)).rejects.toMatchObject({ code: 'not_found' });
  await expect(engine.jobs.why('owner', 'default.nothing')).rejects.toMatchObject({ code: 'not_found' });
});
