import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { WaitQuery } from '../../src/api/routes/jobs.ts';
import { parse } from '../../src/shared/validate.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api, CallOptions } from './support/api.ts';
import { startWorker } from './support/worker.ts';
import type { EntryProcess } from './support/process.ts';

let api: Api;
let worker: EntryProcess;
let token: string;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  api = await startApi(redisUrl);
  worker = startWorker(redisUrl);
  token = await api.key('acme');
});
afterAll(async () => {
  await Promise.all([api.stop(), worker.stop()]);
});

const post = (path: string, body: unknown, options: CallOptions = {}): Promise<Answer> =>
  api.call('POST', path, { token, body, ...options });
const get = (path: string): Promise<Answer> => api.call('GET', path, { token });

describe('POST /v1/jobs', () => {
  test('answers 202 with the job and where to find it', async () => {
    const answer = await post('/v1/jobs', {
      task: 'echo',
      payload: { any: ['json', null, 1.5, { ü: '🐝' }] },
      priority: 3,
      delayMs: 3_600_000,
      attempts: 4,
      tags: ['a', 'b'],
    });
    expect(answer.status).toBe(202);
    expect(answer.headers.location).toBe(`/v1/jobs/${answer.json.id}`);
    expect(answer.headers.vary).toBe('Prefer');
    expect(answer.headers['preference-applied']).toBeUndefined();
    expect(answer.headers['content-type']).toBe('application/json; charset=utf-8');
    expect(answer.json).toMatchObject({
      tenant: 'acme',
      task: 'echo',
      queue: 'default',
      state: 'delayed',
      payload: { any: ['json', null, 1.5, { ü: '🐝' }] },
      result: null,
      error: null,
      attempts: { made: 0, max: 4 },
      priority: 3,
      tags: ['a', 'b'],
      flow: null,
      startedAt: null,
      finishedAt: null,
    });
    expect(answer.json.id).toMatch(/^[A-Za-z0-9._~-]+$/);
    expect((await get(answer.headers.location ?? '')).json).toEqual(answer.json);
  });

  test('with Prefer: wait answers 200 with the result', async () => {
    const answer = await post('/v1/jobs', { task: 'echo', payload: 7 }, { headers: { Prefer: 'wait=60' } });
    expect(answer.status).toBe(200);
    expect(answer.headers['preference-applied']).toBe('wait=60');
    expect(answer.headers.vary).toBe('Prefer');
    expect(answer.json).toMatchObject({ state: 'completed', result: 7, attempts: { made: 1 } });
  });

  test('with Prefer: wait answers 200 for a job that failed', async () => {
    const body = { task: 'fail', payload: { message: 'as asked' }, attempts: 1 };
    const answer = await post('/v1/jobs', body, { headers: { Prefer: 'respond-async, wait="60"' } });
    expect(answer.status).toBe(200);
    expect(answer.json).toMatchObject({ state: 'failed', error: { message: 'as asked' } });
  });

  test('with Prefer: wait answers 202 when the time is over first', async () => {
    const startedAt = performance.now();
    const body = { task: 'sleep', payload: { ms: 30_000 } };
    const answer = await post('/v1/jobs', body, { headers: { Prefer: 'wait=1' } });
    const tookMs = performance.now() - startedAt;
    expect(answer.status).toBe(202);
    expect(answer.headers['preference-applied']).toBe('wait=1');
    expect(answer.json.finishedAt).toBeNull();
    expect(tookMs).toBeGreaterThan(950);
    expect(tookMs).toBeLessThan(20_000);
  });

  test('waits 60 s at most and ignores a wait that makes no sense', async () => {
    const wait = async (Prefer: string): Promise<string | string[] | undefined> =>
      (await post('/v1/jobs', { task: 'echo' }, { headers: { Prefer } })).headers['preference-applied'];
    expect(await wait('wait=600')).toBe('wait=60');
    expect(await wait('WAIT=5; x=y')).toBe('wait=5');
    expect(await wait('wait=5, wait=9')).toBe('wait=5');
    for (const Prefer of ['wait', 'wait=', 'wait=-1', 'wait=x', 'return=minimal', 'wait=1.5']) {
      expect(await wait(Prefer)).toBeUndefined();
    }
  });
});

describe('GET /v1/jobs/{id}?wait=N', () => {
  test('answers as soon as the job has finished', async () => {
    const { json } = await post('/v1/jobs', { task: 'sleep', payload: { ms: 400 } });
    const startedAt = performance.now();
    const answer = await get(`/v1/jobs/${json.id}?wait=30`);
    expect(answer.status).toBe(200);
    expect(answer.json.state).toBe('completed');
    expect(performance.now() - startedAt).toBeLessThan(20_000);
  });

  test('answers at once for a job that has finished before', async () => {
    const { json } = await post('/v1/jobs', { task: 'echo' }, { headers: { Prefer: 'wait=60' } });
    for (const wait of ['60', '61', '99999999999999999999']) {
      expect(await get(`/v1/jobs/${json.id}?wait=${wait}`)).toMatchObject({ status: 200, json });
    }
  });

  test('waits 60 s at most, as with Prefer', () => {
    const seconds = (wait: string): number | undefined => parse(WaitQuery, { wait }).wait;
    expect(['0', '59', '60', '61', '120', '9'.repeat(400)].map(seconds)).toEqual([0, 59, 60, 60, 60, 60]);
    for (const wait of ['', '-1', 'x', '1.5', '1e1', ' 1']) expect(() => seconds(wait)).toThrow('wait');
  });

  test('answers with the job as it is when the time is over', async () => {
    const { json } = await post('/v1/jobs', { task: 'echo', delayMs: 60_000 });
    expect((await get(`/v1/jobs/${json.id}?wait=1`)).json.state).toBe('delayed');
    expect((await get(`/v1/jobs/${json.id}?wait=0`)).json.state).toBe('delayed');
  });

  test('serves many waiters for many jobs at a time', async () => {
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, payload) =>
        post('/v1/jobs', { task: 'echo', payload }, { headers: { Prefer: 'wait=60' } }),
      ),
    );
    expect(answers.map((answer) => answer.json.result)).toEqual(Array.from({ length: 60 }, (_, n) => n));
  });
});

describe('POST /v1/jobs/batch', () => {
  test('gives each job its own outcome, in order', async () => {
    const jobs = [
      { task: 'echo', payload: 1 },
      { task: 'nope' },
      { task: 'echo', colour: 1 },
      'x',
      { task: 'echo' },
    ];
    const answer = await post('/v1/jobs/batch', { jobs });
    expect(answer.status).toBe(202);
    expect(answer.json.results).toMatchObject([
      { index: 0, id: expect.any(String) },
      { index: 1, problem: { code: 'unknown_task', status: 422 } },
      { index: 2, problem: { code: 'validation', status: 400 } },
      { index: 3, problem: { code: 'validation' } },
      { index: 4, id: expect.any(String) },
    ]);
    const done = await get(`/v1/jobs/${answer.json.results[0].id}?wait=60`);
    expect(done.json).toMatchObject({ state: 'completed', result: 1 });
  });

  test('takes 1,000 jobs and no more', async () => {
    const job = { task: 'echo', delayMs: 3_600_000 };
    const full = await post('/v1/jobs/batch', { jobs: Array.from({ length: 1000 }, () => job) });
    expect(full.json.results.filter((result: { id?: string }) => result.id !== undefined)).toHaveLength(1000);
    const over = await post('/v1/jobs/batch', { jobs: Array.from({ length: 1001 }, () => job) });
    expect([400, 413]).toContain(over.status);
    expect((await post('/v1/jobs/batch', { jobs: [] })).status).toBe(400);
  });
});

describe('GET /v1/jobs', () => {
  test('ANDs its filters and pages through all of them, newest first', async () => {
    const lister = await api.key('lister');
    const list = (query: string): Promise<Answer> => api.call('GET', `/v1/jobs?${query}`, { token: lister });
    const ids: string[] = [];
    for (let n = 0; n < 7; n++) {
      const body = {
        task: n % 2 ? 'echo' : 'sleep',
        payload: { ms: 1 },
        delayMs: 3_600_000,
        tags: [`n${n % 3}`],
      };
      ids.push((await post('/v1/jobs', body, { token: lister })).json.id);
    }
    const idsOf = (answer: Answer): string[] => answer.json.jobs.map((job: { id: string }) => job.id);
    expect(idsOf(await list(''))).toEqual(ids.toReversed());
    expect(idsOf(await list('task=echo&tag=n0'))).toEqual([ids[3]]);
    expect(idsOf(await list('state=completed'))).toEqual([]);
    expect(idsOf(await list('state=delayed&queue=default'))).toHaveLength(7);
    expect(idsOf(await list('queue=other'))).toEqual([]);

    const paged: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const page: Answer = await list(
        `limit=2${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`,
      );
      expect(page.status).toBe(200);
      paged.push(...idsOf(page));
      cursor = page.json.nextCursor;
    }
    expect(paged).toEqual(ids.toReversed());
  });
});

describe('flows', () => {
  test('a tree runs children first and shows every node', async () => {
    const tree = {
      task: 'echo',
      name: 'root',
      payload: 'done',
      children: [
        { task: 'echo', name: 'left', payload: 1 },
        { task: 'sleep', name: 'right', payload: { ms: 50 }, children: [{ task: 'echo', name: 'leaf' }] },
      ],
    };
    const answer = await post('/v1/flows', { tree });
    expect(answer.status).toBe(202);
    expect(answer.headers.location).toBe(`/v1/flows/${answer.json.id}`);
    expect(Object.keys(answer.json.jobs).sort()).toEqual(['leaf', 'left', 'right', 'root']);
    expect(answer.json.jobs.root).toBe(answer.json.id);

    const root = await get(`/v1/jobs/${answer.json.id}?wait=30`);
    expect(root.json).toMatchObject({ state: 'completed', flow: { id: answer.json.id, parentId: null } });
    const flow = await get(`/v1/flows/${answer.json.id}`);
    expect(flow.json).toMatchObject({ id: answer.json.id, state: 'completed', result: 'done' });
    const nodes = new Map(flow.json.nodes.map((node: { name: string }) => [node.name, node]));
    expect(nodes.get('leaf')).toMatchObject({ state: 'completed', parents: ['right'], children: [] });
    expect(nodes.get('root')).toMatchObject({ parents: [] });
    const leaf = await get(`/v1/jobs/${answer.json.jobs.leaf}`);
    expect(leaf.json.flow).toEqual({ id: answer.json.id, parentId: answer.json.jobs.right });
  });

  test('a tree with one bad node stores nothing', async () => {
    const clean = await api.key('clean');
    const tree = { task: 'echo', children: [{ task: 'echo' }, { task: 'no.such.task' }] };
    expect((await post('/v1/flows', { tree }, { token: clean })).json.code).toBe('unknown_task');
    expect((await api.call('GET', '/v1/jobs', { token: clean })).json.jobs).toEqual([]);
  });
});

describe('tenants', () => {
  test('are configured by the admin and read back', async () => {
    expect((await api.admin('PUT', '/v1/tenants/heavy', { body: { weight: 3 } })).json).toMatchObject({
      id: 'heavy',
      weight: 3,
      configured: true,
    });
    expect((await api.admin('GET', '/v1/tenants/heavy')).json.weight).toBe(3);
    expect((await api.admin('GET', '/v1/tenants/nobody')).json).toMatchObject({
      weight: 1,
      configured: false,
    });
    const { json } = await api.admin('GET', '/v1/tenants');
    expect(json.tenants.map((tenant: { id: string }) => tenant.id)).toContain('heavy');
  });

  test('a key is shown once and works', async () => {
    const made = await api.admin('POST', '/v1/tenants/heavy/keys', { body: { scopes: ['jobs:read'] } });
    expect(made.status).toBe(201);
    expect(made.headers['cache-control']).toBe('no-store');
    expect(made.json).toMatchObject({
      secret: expect.stringMatching(/^wgk_/),
      scopes: ['jobs:read'],
      expiresAt: null,
    });
    expect((await api.call('GET', '/v1/jobs', { token: made.json.secret })).status).toBe(200);
  });
});

describe('ids that follow a request', () => {
  const ask = async (headers: Record<string, string>): Promise<Answer> =>
    post('/v1/jobs', { task: 'echo' }, { headers });

  test('the request id is taken over when it is harmless, else made', async () => {
    expect((await ask({ 'X-Request-Id': 'req-1' })).headers['x-request-id']).toBe('req-1');
    for (const given of ['a b', 'x'.repeat(200), '<script>', '']) {
      expect((await ask({ 'X-Request-Id': given })).headers['x-request-id']).toMatch(/^[0-9A-Z]{26}$/);
    }
  });

  test('the correlation id comes from its header, then from traceparent, else it is the request id', async () => {
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
    const traceparent = `00-${trace}-00f067aa0ba902b7-01`;
    const both = await ask({ 'X-Correlation-Id': 'corr-1', traceparent });
    expect([both.json.correlationId, both.headers['x-correlation-id']]).toEqual(['corr-1', 'corr-1']);
    expect((await ask({ traceparent })).json.correlationId).toBe(trace);
    for (const bad of [
      `ff-${trace}-00f067aa0ba902b7-01`,
      `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
      'nope',
    ]) {
      const answer = await ask({ traceparent: bad });
      expect(answer.json.correlationId).toBe(answer.headers['x-request-id']);
    }
    const named = await post(
      '/v1/jobs',
      { task: 'echo', correlationId: 'own' },
      { headers: { 'X-Correlation-Id': 'b' } },
    );
    expect([named.json.correlationId, named.headers['x-correlation-id']]).toEqual(['own', 'own']);
  });
});
