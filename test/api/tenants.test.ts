import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api, CallOptions } from './support/api.ts';
import { expectProblem } from './support/problems.ts';
import type { EntryProcess } from './support/process.ts';
import { startWorker } from './support/worker.ts';

let api: Api;
let worker: EntryProcess;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  api = await startApi(redisUrl);
  worker = startWorker(redisUrl);
});
afterAll(async () => {
  await Promise.all([api.stop(), worker.stop()]);
});

const put = (tenant: string, body: unknown): Promise<Answer> =>
  api.admin('PUT', `/v1/tenants/${tenant}`, { body });
const get = (tenant: string): Promise<Answer> => api.admin('GET', `/v1/tenants/${tenant}`);
const pause = (tenant: string, body: unknown): Promise<Answer> =>
  api.admin('POST', `/v1/tenants/${tenant}/pause`, { body });
const resume = (tenant: string): Promise<Answer> => api.admin('POST', `/v1/tenants/${tenant}/resume`);

const everything = {
  weight: 3,
  maxRunning: 20,
  rate: { limit: 50, periodMs: 1000, burst: 10 },
  maxWaiting: 1000,
  paused: true,
  queues: { mail: { weight: 0.5, maxRunning: 2, rate: { limit: 1, periodMs: 60_000, burst: 1 } } },
};

describe('settings of a tenant', () => {
  test('are put, read, listed, and replaced as a whole', async () => {
    const answer = await put('acme', everything);
    expect(answer.status).toBe(200);
    expect(answer.json).toMatchObject({ id: 'acme', ...everything, pausedUntil: null, configured: true });
    expect((await get('acme')).json).toEqual(answer.json);
    expect((await api.admin('GET', '/v1/tenants')).json.tenants).toContainEqual(answer.json);
    expect((await put('acme', { weight: 2 })).json).toMatchObject({
      weight: 2,
      maxRunning: null,
      rate: null,
      maxWaiting: null,
      paused: false,
      queues: {},
    });
  });

  test('of * are those of tenants nobody configured', async () => {
    await put('own', { weight: 5 });
    await put('*', { maxRunning: 7, rate: { limit: 2, periodMs: 1000 } });
    const defaults = { maxRunning: 7, rate: { limit: 2, periodMs: 1000, burst: 1 } };
    expect((await get('nobody')).json).toMatchObject({ id: 'nobody', ...defaults, configured: false });
    expect((await get('*')).json).toMatchObject({ id: '*', ...defaults, configured: true });
    expect((await get('own')).json).toMatchObject({ weight: 5, maxRunning: null, rate: null });
    await put('*', {});
    expect((await get('nobody')).json).toMatchObject({ maxRunning: null, rate: null });
  });

  test('that are wrong are refused by name and change nothing', async () => {
    const { json } = await put('steady', everything);
    for (const [path, body] of [
      ['weight', { weight: 0 }],
      ['maxRunning', { maxRunning: -1 }],
      ['maxWaiting', { maxWaiting: 0.5 }],
      ['rate', { rate: 50 }],
      ['rate.burst', { rate: { limit: 1, periodMs: 1, burst: 0 } }],
      ['paused', { paused: 1 }],
      ['queues.UP', { queues: { UP: {} } }],
      ['queues.mail.maxWaiting', { queues: { mail: { maxWaiting: 1 } } }],
      ['pausedUntil', { pausedUntil: null }],
    ] as const) {
      const answer = await put('steady', { weight: 9, ...body });
      expectProblem(answer, 400, 'validation');
      expect(answer.json.errors.map((error: { path: string }) => error.path)).toEqual([path]);
    }
    const headers = { 'Content-Type': 'application/json' };
    const endless = await api.admin('PUT', '/v1/tenants/steady', { raw: '{"maxRunning":1e999}', headers });
    expectProblem(endless, 400, 'validation');
    const proto = '{"queues":{"__proto__":{"maxRunning":1}}}';
    const dropped = await api.admin('PUT', '/v1/tenants/steady', { raw: proto, headers });
    expectProblem(dropped, 400, 'validation');
    expect(dropped.json.errors).toMatchObject([{ path: 'queues.__proto__' }]);
    for (const body of [null, [], 'x']) expectProblem(await put('steady', body), 400, 'validation');
    expect((await get('steady')).json).toEqual(json);
  });

  test('are no business of its own keys', async () => {
    const { json } = await put('acme', { weight: 2 });
    const token = await api.key('acme');
    for (const [method, path, body] of [
      ['PUT', '/v1/tenants/acme', { weight: 1000 }],
      ['GET', '/v1/tenants/acme', undefined],
      ['POST', '/v1/tenants/acme/pause', {}],
      ['POST', '/v1/tenants/acme/resume', undefined],
    ] as const) {
      expectProblem(await api.call(method, path, { token, body }), 403, 'forbidden');
    }
    expect((await get('acme')).json).toEqual(json);
  });

  test('of what is no tenant id do not exist', async () => {
    for (const id of ['NO', 'a%20b', '-a', '__proto__', '**']) {
      expectProblem(await get(id), 404, 'not_found');
      expectProblem(await pause(id, {}), 404, 'not_found');
      expectProblem(await resume(id), 404, 'not_found');
      expectProblem(await put(id, {}), 400, 'validation');
    }
  });
});

describe('a pause', () => {
  const remaining = ({ json }: Answer): number => Date.parse(json.pausedUntil) - Date.now();

  test('lasts a time, until a moment, or until it is resumed', async () => {
    await put('paused', { weight: 2 });
    const forAnHour = await pause('paused', { untilMs: 3_600_000 });
    expect([forAnHour.status, forAnHour.json.paused]).toEqual([200, true]);
    expect(remaining(forAnHour)).toBeGreaterThan(3_590_000);
    expect(remaining(forAnHour)).toBeLessThanOrEqual(3_600_000);

    const moment = Date.now() + 7_200_000;
    const until = await pause('paused', { untilMs: moment });
    expect(Math.abs(Date.parse(until.json.pausedUntil) - moment)).toBeLessThan(1000);
    for (const untilMs of [0, Date.now() - 1]) {
      await pause('paused', {});
      expect((await pause('paused', { untilMs })).status).toBe(200);
      await eventually('it is over', async () => !(await get('paused')).json.paused);
    }
    for (const body of [undefined, {}, { untilMs: null }]) {
      await pause('paused', { untilMs: 60_000 });
      expect((await pause('paused', body)).json).toMatchObject({ paused: true, pausedUntil: null });
    }
    const resumed = await resume('paused');
    expect([resumed.status, resumed.json]).toEqual([200, (await get('paused')).json]);
    expect(resumed.json).toMatchObject({ weight: 2, paused: false, pausedUntil: null });
  });

  test('for a time that makes no sense is refused and changes nothing', async () => {
    const { json } = await pause('odd', {});
    for (const untilMs of [-1, 1.5, '60000', true, [], 1e17, '2030-01-01T00:00:00Z']) {
      expectProblem(await pause('odd', { untilMs }), 400, 'validation');
    }
    expectProblem(await pause('odd', { forMs: 1 }), 400, 'validation');
    expect((await get('odd')).json).toEqual(json);
  });

  test('holds jobs that wait and come, and a resume lets them run at once', async () => {
    const token = await api.key('held');
    const post = (headers = {}): Promise<Answer> =>
      api.call('POST', '/v1/jobs', { token, headers, body: { task: 'echo', payload: 1 } });
    expect((await pause('held', {})).json).toMatchObject({ paused: true, configured: false });
    const waits = await post({ Prefer: 'wait=1' });
    expect([waits.status, waits.json.state]).toEqual([202, 'waiting']);
    const answered = api.call('GET', `/v1/jobs/${waits.json.id}?wait=60`, { token });
    await resume('held');
    expect((await answered).json).toMatchObject({ state: 'completed', result: 1 });
    expect((await post({ Prefer: 'wait=60' })).json).toMatchObject({ state: 'completed' });
  });
});

describe('a tenant whose waiting room is full', () => {
  /** A tenant that runs nothing and has room for so many jobs, as a caller. */
  async function tenantWithRoom(
    tenant: string,
    maxWaiting: number,
  ): Promise<(path: string, body: unknown, options?: CallOptions) => Promise<Answer>> {
    await put(tenant, { maxWaiting, paused: true });
    const token = await api.key(tenant);
    return (path, body, options) => api.call('POST', path, { token, body, ...options });
  }
  const job = { task: 'echo' };
  const listed = async (tenant: string): Promise<number> =>
    (await api.admin('GET', '/v1/jobs', { headers: { 'X-Tenant-Id': tenant } })).json.jobs.length;

  test('has a job refused with a time to come again, waiting for it or not', async () => {
    const post = await tenantWithRoom('single', 1);
    expect((await post('/v1/jobs', job)).status).toBe(202);
    for (const headers of [{}, { Prefer: 'wait=60' }]) {
      const answer = await post('/v1/jobs', { ...job, queue: 'other' }, { headers });
      expectProblem(answer, 429, 'queue_full');
      expect(answer.headers).toMatchObject({
        'retry-after': '1',
        'ratelimit-policy': '"max-waiting";q=1',
        ratelimit: '"max-waiting";r=0;t=1',
      });
      expect(answer.headers.location).toBeUndefined();
    }
    // What is wrong with the job itself is said first: no waiting would help.
    expectProblem(await post('/v1/jobs', { task: 'nope' }), 422, 'unknown_task');
    expect(await listed('single')).toBe(1);
    await put('single', {});
    expect((await post('/v1/jobs', job)).status).toBe(202);
  });

  test('takes the first jobs of a batch and answers each of the others', async () => {
    const post = await tenantWithRoom('batch', 2);
    const answer = await post('/v1/jobs/batch', { jobs: [job, { task: 'nope' }, job, job, job] });
    expect(answer.status).toBe(202);
    const full = { code: 'queue_full', status: 429, type: '/problems/queue-full' };
    expect(answer.json.results).toMatchObject([
      { index: 0, id: expect.any(String) },
      { index: 1, problem: { code: 'unknown_task' } },
      { index: 2, id: expect.any(String) },
      { index: 3, problem: full },
      { index: 4, problem: full },
    ]);
    expect(await listed('batch')).toBe(2);
  });

  test('has a flow that does not fit refused as a whole', async () => {
    const post = await tenantWithRoom('flow', 2);
    const refused = await post('/v1/flows', { tree: { ...job, children: [job, job] } });
    expectProblem(refused, 429, 'queue_full');
    expect(refused.headers).toMatchObject({ 'retry-after': '1', ratelimit: '"max-waiting";r=2;t=1' });
    expect(await listed('flow')).toBe(0);
    expect((await post('/v1/flows', { tree: { ...job, children: [job] } })).status).toBe(202);
    expect(await listed('flow')).toBe(2);
  });
});
