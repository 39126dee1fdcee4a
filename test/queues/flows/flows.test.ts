import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Flow, FlowTree } from '../../../src/shared/schemas.ts';
import { context, openTestEngine } from '../support/engine.ts';
import type { TestEngine, TestJob } from '../support/engine.ts';
import { latch } from '../support/latch.ts';

let engine: TestEngine;
beforeEach(async () => {
  engine = await openTestEngine();
});
afterEach(() => engine.close());

/** A worker that does what the payload says, and calls cancelUnstarted as Waggle's own worker does. */
function serve(
  tenant: string,
  queue = 'default',
  handlers: Record<string, (job: TestJob) => unknown> = {},
): string[] {
  const ran: string[] = [];
  const worker = engine.work(
    tenant,
    async (job) => {
      const name = job.data.flow?.name ?? '';
      ran.push(name);
      const handler = handlers[name];
      if (handler) return handler(job);
      if (job.data.payload === 'fail') throw new Error(`${name} failed`);
      return `${name} done`;
    },
    { queue },
  );
  worker.on('failed', (job) => {
    if (job?.data.flow) void engine.flows.cancelUnstarted(tenant, job.data.flow.id);
  });
  return ran;
}

const states = (flow: Flow): Record<string, string> =>
  Object.fromEntries(flow.nodes.map((node) => [node.name, node.state]));

async function run(tenant: string, tree: FlowTree): Promise<Flow> {
  const { id } = await engine.flows.enqueue(tenant, tree, context);
  await engine.jobs.waitUntilFinished(tenant, id, 60_000);
  await engine.flows.cancelUnstarted(tenant, id);
  return engine.flows.get(tenant, id);
}

const tenNodes: FlowTree = {
  task: 'work',
  name: 'root',
  children: [
    {
      task: 'work',
      name: 'left',
      children: [{ task: 'work' }, { task: 'work' }, { task: 'work', queue: 'side' }],
    },
    {
      task: 'work',
      name: 'right',
      children: [{ task: 'work', children: [{ task: 'work' }] }, { task: 'echo' }],
    },
  ],
};

test('a tree of ten nodes runs from its leaves to its root', async () => {
  const order = serve('ten');
  const side = serve('ten', 'side');
  const receipt = await engine.flows.enqueue('ten', { ...tenNodes, correlationId: 'flow-c' }, context);
  expect(Object.keys(receipt.jobs)).toHaveLength(9);
  expect(Object.keys(receipt.jobs).sort()).toEqual(
    ['root', 'left', 'right', 'work', 'work-2', 'work-3', 'work-4', 'work-5', 'echo'].sort(),
  );
  const done = await engine.jobs.waitUntilFinished('ten', receipt.id, 60_000);
  expect(done).toMatchObject({
    state: 'completed',
    flow: { id: receipt.id, parentId: null },
    correlationId: 'flow-c',
  });
  const flow = await engine.flows.get('ten', receipt.id);
  expect(flow).toMatchObject({ id: receipt.id, state: 'completed', result: 'root done' });
  expect(new Set(Object.values(states(flow)))).toEqual(new Set(['completed']));
  for (const node of flow.nodes) {
    for (const child of node.children) {
      expect(flow.nodes.find((one) => one.name === child)?.parents).toEqual([node.name]);
      if (order.includes(child)) expect(order.indexOf(child)).toBeLessThan(order.indexOf(node.name));
    }
  }
  expect(side).toHaveLength(1);
  const { jobs } = await engine.jobs.list('ten', { limit: 50, flowId: receipt.id });
  expect(jobs).toHaveLength(9);
  expect(jobs.every((job) => job.flow?.id === receipt.id)).toBe(true);
});

test('a flow of one node is a flow', async () => {
  serve('one');
  expect(await run('one', { task: 'echo' })).toMatchObject({ state: 'completed', nodes: [{ name: 'echo' }] });
});

test('before anything runs the parents wait for their children', async () => {
  const { id } = await engine.flows.enqueue('idle', tenNodes, context);
  const flow = await engine.flows.get('idle', id);
  expect(flow).toMatchObject({ state: 'running', result: null });
  expect(states(flow)).toMatchObject({
    root: 'waiting-children',
    left: 'waiting-children',
    work: 'waiting',
    echo: 'waiting',
  });
});

test('fail: a failing child fails the flow, and what has not started is cancelled', async () => {
  serve('fails');
  const flow = await run('fails', {
    task: 'work',
    name: 'root',
    children: [
      {
        task: 'work',
        name: 'middle',
        children: [{ task: 'work', name: 'bad', payload: 'fail', attempts: 1 }],
      },
      { task: 'work', name: 'late', delayMs: 3_600_000 },
      { task: 'work', name: 'nobody', queue: 'unserved' },
      { task: 'work', name: 'branch', children: [{ task: 'work', name: 'leaf', queue: 'unserved' }] },
    ],
  });
  expect(flow.state).toBe('failed');
  expect(states(flow)).toEqual({
    root: 'failed',
    middle: 'failed',
    bad: 'failed',
    late: 'cancelled',
    nobody: 'cancelled',
    branch: 'cancelled',
    leaf: 'cancelled',
  });
  const root = await engine.jobs.get('fails', flow.id);
  expect(root.error).toMatchObject({ code: 'child_failed', retryable: false });
  expect(root.error?.message).not.toContain('{');
  expect(await engine.flows.cancelUnstarted('fails', flow.id)).toBe(0);
});

test('fail: a flow ends even when nobody serves the queues of its upper nodes', async () => {
  serve('unserved', 'leaves');
  const { id } = await engine.flows.enqueue(
    'unserved',
    {
      task: 'work',
      name: 'root',
      queue: 'nobody',
      children: [
        {
          task: 'work',
          name: 'middle',
          queue: 'nobody',
          children: [{ task: 'work', name: 'bad', queue: 'leaves', payload: 'fail', attempts: 1 }],
        },
      ],
    },
    context,
  );
  expect(await engine.jobs.waitUntilFinished('unserved', id, 60_000)).toMatchObject({
    state: 'failed',
    error: { code: 'child_failed' },
  });
});

test('fail: a node that runs already runs to its end', async () => {
  const running = latch();
  const go = latch();
  serve('busy', 'default', {
    slow: async () => {
      running.open();
      await go.opened;
      return 'slow done';
    },
    bad: async () => {
      await running.opened;
      throw new Error('bad');
    },
  });
  const { id, jobs } = await engine.flows.enqueue(
    'busy',
    {
      task: 'work',
      name: 'root',
      children: [
        { task: 'work', name: 'slow' },
        { task: 'work', name: 'bad', attempts: 1 },
      ],
    },
    context,
  );
  expect(await engine.jobs.waitUntilFinished('busy', id, 60_000)).toMatchObject({ state: 'failed' });
  expect(await engine.jobs.get('busy', jobs.slow ?? '')).toMatchObject({ state: 'active' });
  go.open();
  expect(await engine.jobs.waitUntilFinished('busy', jobs.slow ?? '', 60_000)).toMatchObject({
    state: 'completed',
  });
});

test('continue: the parent runs after all children and sees the failure', async () => {
  const ran = serve('goes-on', 'default', {
    root: async (job) => ({
      values: await job.getChildrenValues(),
      failures: await job.getIgnoredChildrenFailures(),
    }),
  });
  const flow = await run('goes-on', {
    task: 'work',
    name: 'root',
    onChildFailure: 'continue',
    children: [
      { task: 'work', name: 'bad', payload: 'fail', attempts: 1 },
      { task: 'work', name: 'good', delayMs: 300 },
    ],
  });
  expect(states(flow)).toEqual({ root: 'completed', bad: 'failed', good: 'completed' });
  expect(ran.at(-1)).toBe('root');
  const result = flow.result as { values: Record<string, unknown>; failures: Record<string, string> };
  expect(Object.values(result.values)).toEqual(['good done']);
  expect(Object.values(result.failures)).toEqual(['bad failed']);
});

test('ignore: the parent runs and sees nothing of the failure', async () => {
  serve('ignores', 'default', {
    root: async (job) => ({
      values: await job.getChildrenValues(),
      failures: await job.getIgnoredChildrenFailures(),
    }),
  });
  const flow = await run('ignores', {
    task: 'work',
    name: 'root',
    onChildFailure: 'ignore',
    children: [
      { task: 'work', name: 'bad', payload: 'fail', attempts: 1 },
      { task: 'work', name: 'good' },
    ],
  });
  expect(states(flow)).toEqual({ root: 'completed', bad: 'failed', good: 'completed' });
  expect(flow.result).toMatchObject({ failures: {} });
});

test('a failure stops at the first ancestor that goes on; the rest of the flow is untouched', async () => {
  serve('partly');
  const flow = await run('partly', {
    task: 'work',
    name: 'root',
    onChildFailure: 'continue',
    children: [
      {
        task: 'work',
        name: 'doomed',
        children: [
          { task: 'work', name: 'bad', payload: 'fail', attempts: 1 },
          { task: 'work', name: 'never', delayMs: 3_600_000 },
        ],
      },
      { task: 'work', name: 'fine', delayMs: 200 },
    ],
  });
  expect(states(flow)).toEqual({
    root: 'completed',
    doomed: 'failed',
    bad: 'failed',
    never: 'cancelled',
    fine: 'completed',
  });
});

test('cancelling an unfailed flow cancels nothing', async () => {
  const { id } = await engine.flows.enqueue('calm', tenNodes, context);
  expect(await engine.flows.cancelUnstarted('calm', id)).toBe(0);
  expect(await engine.flows.cancelUnstarted('stranger', id)).toBe(0);
  expect(await engine.flows.cancelUnstarted('calm', 'nonsense')).toBe(0);
});

test.each<[string, FlowTree, string, string]>([
  ['an unknown task', { task: 'echo', children: [{ task: 'nope' }] }, 'unknown_task', 'tree.children.0.task'],
  [
    'a bad payload',
    { task: 'echo', children: [{ task: 'echo' }, { task: 'sleep', payload: { ms: 'x' } }] },
    'invalid_payload',
    'tree.children.1.payload.ms',
  ],
  [
    'a name twice',
    { task: 'echo', name: 'a', children: [{ task: 'echo', name: 'a' }] },
    'validation',
    'tree.children.0.name',
  ],
  [
    'runAt on a parent',
    { task: 'echo', runAt: '2030-01-01T00:00:00Z', children: [{ task: 'echo' }] },
    'validation',
    'tree.runAt',
  ],
])('%s stores nothing of the flow', async (_what, tree, code, path) => {
  await expect(engine.flows.enqueue('refused', tree, context)).rejects.toMatchObject({
    code,
    errors: [{ path }],
  });
  expect((await engine.jobs.list('refused', { limit: 10 })).jobs).toEqual([]);
});

test('a flow of 1,000 nodes is taken, one of 1,001 is not', async () => {
  const wide = (nodes: number): FlowTree => ({
    task: 'echo',
    children: Array.from({ length: nodes - 1 }, () => ({ task: 'echo' })),
  });
  const { id } = await engine.flows.enqueue('wide', wide(1000), context);
  expect((await engine.flows.get('wide', id)).nodes).toHaveLength(1000);
  await expect(engine.flows.enqueue('wide', wide(1001), context)).rejects.toMatchObject({
    code: 'payload_too_large',
  });
});

test('a flow that is too deep is refused', async () => {
  let tree: FlowTree = { task: 'echo' };
  for (let i = 0; i < 50; i += 1) tree = { task: 'echo', children: [tree] };
  await expect(engine.flows.enqueue('deep', tree, context)).rejects.toMatchObject({ code: 'validation' });
});
