import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { expectProblem } from './support/problems.ts';
import { startWorker } from './support/worker.ts';
import type { EntryProcess } from './support/process.ts';

let api: Api;
let worker: EntryProcess;
let token: string;

/** A queue that no worker serves. */
const queue = 'idle';
const HOUR = 3_600_000;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  api = await startApi(redisUrl);
  worker = startWorker(redisUrl);
  token = await api.key('acme');
});
afterAll(async () => {
  await Promise.all([api.stop(), worker.stop()]);
});

const call = (method: string, path: string, body?: unknown): Promise<Answer> =>
  api.call(method, path, { token, ...(body === undefined ? {} : { body }) });
const enqueue = async (body: Record<string, unknown>): Promise<string> =>
  (await call('POST', '/v1/jobs', { task: 'echo', ...body })).json.id as string;
const act = (id: string, name: string, body?: unknown): Promise<Answer> =>
  call('POST', `/v1/jobs/${id}/${name}`, body);
const get = async (id: string, wait = 0): Promise<any> =>
  (await call('GET', `/v1/jobs/${id}?wait=${wait}`)).json;
const until = async (id: string, state: string): Promise<void> => {
  while ((await get(id)).state !== state);
};
const failed = async (body: Record<string, unknown> = {}): Promise<string> => {
  const id = await enqueue({ task: 'fail', payload: { times: 1 }, attempts: 1, ...body });
  expect((await get(id, 30)).state).toBe('failed');
  return id;
};

describe('cancel', () => {
  test.each([{}, { delayMs: HOUR }, { priority: 3 }])(
    'a job that waits (%j) is gone at once',
    async (fields) => {
      const id = await enqueue({ queue, ...fields });
      const answer = await act(id, 'cancel', { reason: 'no longer wanted' });
      expect(answer.status).toBe(200);
      expect(answer.json).toMatchObject({
        id,
        state: 'cancelled',
        error: { code: 'cancelled', message: 'no longer wanted', retryable: false },
        attempts: { made: 0 },
        startedAt: null,
        finishedAt: expect.any(String),
      });
      expect(await get(id)).toEqual(answer.json);
      expect(await act(id, 'cancel', { reason: 'again' })).toMatchObject({ status: 200, json: answer.json });
    },
  );

  test('a job that runs is asked to stop: 202, and it ends as cancelled', async () => {
    const id = await enqueue({ task: 'sleep', payload: { ms: 60_000 } });
    await until(id, 'active');
    // It may stop before the answer is out, unless it cannot.
    worker.child.kill('SIGSTOP');
    try {
      expect(await act(id, 'cancel')).toMatchObject({ status: 202, json: { id, state: 'active' } });
    } finally {
      worker.child.kill('SIGCONT');
    }
    expect(await get(id, 30)).toMatchObject({
      state: 'cancelled',
      error: { message: 'cancelled on request' },
    });
  });

  test('a finished job is beyond it', async () => {
    const done = await enqueue({});
    await get(done, 30);
    expectProblem(await act(done, 'cancel'), 409, 'job_not_in_state');
    expectProblem(await act(await failed(), 'cancel'), 409, 'job_not_in_state');
  });

  test.each([
    [{ graceMs: -1 }, 'graceMs'],
    [{ graceMs: 600_001 }, 'graceMs'],
    [{ graceMs: 1.5 }, 'graceMs'],
    [{ reason: '' }, 'reason'],
    [{ reason: 'x'.repeat(501) }, 'reason'],
    [{ reason: 5 }, 'reason'],
    [{ force: true }, 'force'],
  ])('refuses %j', async (body, path) => {
    const answer = await act(await enqueue({ queue, delayMs: HOUR }), 'cancel', body);
    expectProblem(answer, 400, 'validation');
    expect(answer.json.errors[0].path).toBe(path);
  });

  test.each(['"}]}\\ \u0000 {"code":"x"} \u2028', '__proto__', '{wg:0}*'])(
    'takes the reason %j as it is',
    async (reason) => {
      const id = await enqueue({ task: 'sleep', payload: { ms: 60_000 } });
      await until(id, 'active');
      await act(id, 'cancel', { reason });
      expect((await get(id, 30)).error).toEqual({ code: 'cancelled', message: reason, retryable: false });
    },
  );
});

describe('retry', () => {
  test('a failed job runs again, its attempts anew', async () => {
    const id = await failed();
    const first = await get(id);
    const answer = await act(id, 'retry');
    expect(answer.status).toBe(202);
    // By then it may have failed again.
    expect(answer.json).toMatchObject({ id, attempts: { max: 1 } });
    const again = await get(id, 30);
    expect(again).toMatchObject({ state: 'failed', attempts: { made: 1, max: 1 } });
    expect(Date.parse(again.finishedAt)).toBeGreaterThan(Date.parse(first.finishedAt));
  });

  test('so does a cancelled one, by its priority and its key', async () => {
    const fields = { queue, priority: 7, key: 'k', tags: ['t'], payload: { a: 1 } };
    const [first, id] = [await enqueue(fields), await enqueue(fields)];
    const before = await get(id);
    await act(id, 'cancel');
    const answer = await act(id, 'retry');
    expect(answer).toMatchObject({ status: 202, json: { ...before, state: 'waiting' } });
    const why = await call('GET', `/v1/jobs/${id}/why`);
    expect(why.json.blockedBy[0]).toMatchObject({ gate: 'key', detail: expect.stringContaining(first) });
    expectProblem(await act(id, 'retry'), 409, 'job_not_in_state');
  });

  test('a completed job does not, nor one that never ended, nor the node of a flow', async () => {
    const done = await enqueue({});
    await get(done, 30);
    expectProblem(await act(done, 'retry'), 409, 'job_not_in_state');
    expectProblem(await act(await enqueue({ queue, delayMs: HOUR }), 'retry'), 409, 'job_not_in_state');
    const tree = { task: 'echo', queue, children: [{ task: 'echo', name: 'child', queue }] };
    const { jobs } = (await call('POST', '/v1/flows', { tree })).json;
    await act(jobs.child, 'cancel');
    const answer = await act(jobs.child, 'retry');
    expectProblem(answer, 409, 'job_not_in_state');
    expect(answer.json.detail).toContain('retry the flow');
  });

  test('there must be room for it', async () => {
    await api.admin('PUT', '/v1/tenants/full', { body: { maxWaiting: 1 } });
    const full = await api.key('full');
    const post = (path: string, body?: unknown): Promise<Answer> =>
      api.call('POST', path, { token: full, ...(body === undefined ? {} : { body }) });
    const { id } = (await post('/v1/jobs', { task: 'echo', queue })).json;
    await post(`/v1/jobs/${id}/cancel`);
    await post('/v1/jobs', { task: 'echo', queue });
    expectProblem(await post(`/v1/jobs/${id}/retry`), 429, 'queue_full');
  });
});

describe('promote', () => {
  test('a delayed job runs now', async () => {
    const id = await enqueue({ delayMs: HOUR, payload: 'now', priority: 2 });
    const answer = await act(id, 'promote');
    expect(answer.status).toBe(200);
    expect(answer.json.priority).toBe(2);
    expect(Date.parse(answer.json.runAt)).toBeLessThan(Date.now() + 5000);
    expect(await get(id, 30)).toMatchObject({ state: 'completed', result: 'now' });
    expectProblem(await act(id, 'promote'), 409, 'job_not_in_state');
  });

  test('one that waits already does not', async () => {
    expectProblem(await act(await enqueue({ queue }), 'promote'), 409, 'job_not_in_state');
  });
});

describe('PATCH', () => {
  const patch = (id: string, body: unknown): Promise<Answer> => call('PATCH', `/v1/jobs/${id}`, body);

  test('changes what is named and nothing else, of a job that waits or is delayed', async () => {
    for (const fields of [{}, { delayMs: HOUR }, { key: 'p' }, { key: 'p', priority: 1 }]) {
      const id = await enqueue({ queue, tags: ['a'], payload: 1, ...fields });
      const before = await get(id);
      const answer = await patch(id, { priority: 9, payload: { b: [2] } });
      expect(answer.status).toBe(200);
      expect(answer.json).toEqual({ ...before, priority: 9, payload: { b: [2] } });
      expect(await get(id)).toEqual(answer.json);
    }
  });

  test('priority decides about the order inside the tenant', async () => {
    const own = 'order';
    const ids = [];
    for (let n = 0; n < 4; n += 1) ids.push(await enqueue({ queue: own, priority: 4 }));
    await patch(ids[3] ?? '', { priority: 5 });
    await patch(ids[0] ?? '', { priority: 0 });
    const places = ids.map(async (id) => (await call('GET', `/v1/jobs/${id}/why`)).json.position.inTenant);
    expect(await Promise.all(places)).toEqual([3, 1, 2, 0]);
  });

  test('runAt puts it off, and back', async () => {
    const id = await enqueue({ queue, priority: 3 });
    const runAt = new Date(Date.now() + HOUR).toISOString();
    expect((await patch(id, { runAt })).json).toMatchObject({ state: 'delayed', runAt, priority: 3 });
    const later = new Date(Date.now() + 2 * HOUR).toISOString();
    expect((await patch(id, { runAt: later })).json).toMatchObject({ state: 'delayed', runAt: later });
    const now = (await patch(id, { runAt: null })).json;
    expect(now).toMatchObject({ state: 'waiting', priority: 3 });
    expect(Date.parse(now.runAt)).toBeLessThan(Date.now() + 5000);
    expect((await patch(id, { runAt: '2001-01-01T00:00:00Z' })).json.state).toBe('waiting');
  });

  test('one that is put off lets the next of its key go', async () => {
    const [first, second] = [await enqueue({ queue, key: 'q' }), await enqueue({ queue, key: 'q' })];
    const gates = async (id: string): Promise<string[]> =>
      (await call('GET', `/v1/jobs/${id}/why`)).json.blockedBy.map(({ gate }: { gate: string }) => gate);
    expect(await gates(second)).toContain('key');
    await patch(first, { runAt: new Date(Date.now() + HOUR).toISOString() });
    expect(await gates(second)).not.toContain('key');
    await patch(first, { runAt: null });
    expect(await gates(first)).toContain('key');
  });

  test('a time near enough comes by itself', async () => {
    const id = await enqueue({ delayMs: HOUR, payload: 'soon' });
    await patch(id, { runAt: new Date(Date.now() + 300).toISOString() });
    expect(await get(id, 30)).toMatchObject({ state: 'completed', result: 'soon' });
  });

  test.each([
    [{}, 'validation'],
    [{ priority: 10 }, 'validation'],
    [{ runAt: 'soon' }, 'validation'],
    [{ runAt: '9000-01-01T00:00:00Z' }, 'validation'],
    [{ task: 'echo' }, 'validation'],
    [{ payload: { ms: -1 } }, 'invalid_payload'],
    [{ payload: null }, 'invalid_payload'],
  ])('refuses %j', async (body, code) => {
    const id = await enqueue({ task: 'sleep', payload: { ms: 1 }, queue, delayMs: HOUR });
    const before = await get(id);
    expectProblem(await patch(id, body), code === 'validation' ? 400 : 422, code);
    expect(await get(id)).toEqual(before);
  });

  test('neither while it runs nor when it has finished', async () => {
    const id = await enqueue({ task: 'sleep', payload: { ms: 60_000 } });
    await until(id, 'active');
    expectProblem(await patch(id, { priority: 1 }), 409, 'job_not_in_state');
    await act(id, 'cancel');
    await get(id, 30);
    expectProblem(await patch(id, { priority: 1 }), 409, 'job_not_in_state');
  });
});

describe('DELETE', () => {
  const remove = (id: string): Promise<Answer> => call('DELETE', `/v1/jobs/${id}`);

  test('removes a job in any state but running', async () => {
    const done = await enqueue({});
    await get(done, 30);
    const ids = [done, await failed(), await enqueue({ queue }), await enqueue({ queue, delayMs: HOUR })];
    for (const id of ids) {
      expect(await remove(id)).toMatchObject({ status: 204, text: '' });
      expectProblem(await call('GET', `/v1/jobs/${id}`), 404, 'not_found');
      expectProblem(await remove(id), 404, 'not_found');
    }
    const listed = (await call('GET', '/v1/jobs?limit=200')).json.jobs.map(({ id }: { id: string }) => id);
    for (const id of ids) expect(listed).not.toContain(id);
  });

  test('neither one that runs nor the node of a flow', async () => {
    const id = await enqueue({ task: 'sleep', payload: { ms: 60_000 } });
    await until(id, 'active');
    expectProblem(await remove(id), 409, 'job_not_in_state');
    await act(id, 'cancel');
    const flow = (await call('POST', '/v1/flows', { tree: { task: 'echo', queue } })).json;
    expectProblem(await remove(flow.id), 409, 'job_not_in_state');
  });
});

test("another tenant's job, and what is no job, is not found", async () => {
  const id = await enqueue({ queue });
  const other = await api.key('other');
  const ids = [
    id,
    '__proto__',
    'default.01JZ3QK0M4Y8W6T2N5R7S9V1XC',
    '%00',
    '%7Bwg:0%7D',
    '*',
    'x'.repeat(10_000),
  ];
  for (const each of ids) {
    for (const name of ['cancel', 'retry', 'promote'])
      expectProblem(await api.call('POST', `/v1/jobs/${each}/${name}`, { token: other }), 404, 'not_found');
    const options = { token: other, body: { priority: 1 } };
    expectProblem(await api.call('PATCH', `/v1/jobs/${each}`, options), 404, 'not_found');
    expectProblem(await api.call('DELETE', `/v1/jobs/${each}`, { token: other }), 404, 'not_found');
  }
  expect((await get(id)).state).toBe('waiting');
  const reader = await api.key('acme', ['jobs:read']);
  expectProblem(await api.call('POST', `/v1/jobs/${id}/cancel`, { token: reader }), 403, 'forbidden');
});
