import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl, keysOf } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { expectProblem } from './support/problems.ts';
import { startWorker } from './support/worker.ts';
import type { EntryProcess } from './support/process.ts';

let redisUrl: string;
let redis: Redis;
let api: Api;
let other: Api;
let worker: EntryProcess;
let token: string;
let tenants = 0;

beforeAll(async () => {
  redisUrl = await freshRedisUrl();
  redis = new Redis(redisUrl);
  api = await startApi(redisUrl);
  other = await startApi(redisUrl);
  worker = startWorker(redisUrl, { WORKER_QUEUES: 'worked' });
});
afterAll(async () => {
  redis.disconnect();
  await Promise.all([api.stop(), other.stop(), worker.stop()]);
});

beforeEach(async () => {
  tenants += 1;
  token = await api.key(`t${tenants}`);
});

const TREE = { tree: { task: 'echo', name: 'root', children: [{ task: 'echo', payload: 1 }] } };
const BATCH = { jobs: [{ task: 'echo' }, { task: 'nope' }, { task: 'echo', queue: 'side' }] };

function post(
  path: string,
  body: unknown,
  key: string,
  { to = api, headers = {}, as = token }: { to?: Api; headers?: object; as?: string } = {},
): Promise<Answer> {
  return to.call('POST', path, { token: as, body, headers: { 'Idempotency-Key': key, ...headers } });
}

const jobs = async (): Promise<{ id: string; payload: unknown }[]> =>
  (await api.call('GET', '/v1/jobs?limit=200', { token })).json.jobs;

/** How many jobs there are in Redis, whether or not anybody lists them. */
const stored = async (): Promise<number> => (await keysOf(redis, `*:*.${'?'.repeat(26)}`)).length;

/** Ends the time within which whoever came first may still answer, as if it had passed. */
async function lapseLeases(): Promise<void> {
  for (const key of await keysOf(redis, `*:tenant:t${tenants}:once:*`)) {
    if (await redis.hexists(key, 'l')) await redis.hset(key, 'l', 1);
  }
}

describe('a repeat with the same key and body', () => {
  test.each([
    ['/v1/jobs', { task: 'echo', payload: { b: 1, a: [{ d: 2, c: null }] }, delayMs: 60_000 }, 1],
    ['/v1/jobs/batch', BATCH, 2],
    ['/v1/flows', TREE, 2],
  ])('of POST %s gets the first answer again and adds nothing', async (path, body, count) => {
    const first = await post(path, body, 'k');
    expect(first.status).toBe(202);
    expect(first.headers['idempotency-replayed']).toBeUndefined();
    const again = await post(path, body, 'k', { to: other });
    expect([again.status, again.text, again.headers.location, again.headers['idempotency-replayed']]).toEqual(
      [202, first.text, first.headers.location, 'true'],
    );
    expect(await jobs()).toHaveLength(count);
    expect((await post(path, body, 'k2')).text).not.toBe(first.text);
    expect(await jobs()).toHaveLength(2 * count);
  });

  test('is known by what the body says, not how, and not by Prefer', async () => {
    const first = await post('/v1/jobs', { task: 'echo', payload: { a: 1, b: { x: [], y: 2 } } }, 'k');
    const again = await post('/v1/jobs', { payload: { b: { y: 2, x: [] }, a: 1 }, task: 'echo' }, 'k', {
      headers: { Prefer: 'wait=5' },
    });
    expect(again.text).toBe(first.text);
  });

  test('gets what was answered after a wait, also when the job has changed since', async () => {
    const body = { task: 'echo', payload: 7, queue: 'worked' };
    const first = await post('/v1/jobs', body, 'k', { headers: { Prefer: 'wait=30' } });
    expect([first.status, first.json.result]).toEqual([200, 7]);
    const again = await post('/v1/jobs', body, 'k', { to: other });
    expect([again.status, again.text, again.headers['preference-applied']]).toEqual([
      200,
      first.text,
      'wait=30',
    ]);
  });

  test('while the first is being answered gets 409 and when to try again', async () => {
    const body = { task: 'sleep', payload: { ms: 1 }, queue: 'nobody' };
    const first = post('/v1/jobs', body, 'k', { headers: { Prefer: 'wait=60' } });
    await eventually('the first is stored', async () => (await jobs()).length === 1);
    const meanwhile = await post('/v1/jobs', body, 'k', { to: other });
    expectProblem(meanwhile, 409, 'idempotency_in_progress');
    expect(meanwhile.headers['retry-after']).toBe('1');
    const [job] = await jobs();
    await api.call('POST', `/v1/jobs/${job?.id}/cancel`, { token });
    const answer = await first;
    expect(answer.status).toBe(200);
    expect((await post('/v1/jobs', body, 'k')).text).toBe(answer.text);
    expect(await jobs()).toHaveLength(1);
  });
});

describe('a key', () => {
  test('that came with another body or route is refused', async () => {
    await post('/v1/jobs', { task: 'echo', payload: 1 }, 'k');
    expectProblem(await post('/v1/jobs', { task: 'echo', payload: 2 }, 'k'), 422, 'idempotency_key_reused');
    expectProblem(await post('/v1/jobs/batch', BATCH, 'k'), 422, 'idempotency_key_reused');
    expectProblem(await post('/v1/flows', TREE, 'k'), 422, 'idempotency_key_reused');
    expect(await jobs()).toHaveLength(1);
  });

  test('belongs to its tenant', async () => {
    const mine = await post('/v1/jobs', { task: 'echo' }, 'k');
    const theirs = await post('/v1/jobs', { task: 'echo' }, 'k', { as: await api.key('someone') });
    expect([theirs.status, theirs.json.tenant]).toEqual([202, 'someone']);
    expect(theirs.json.id).not.toBe(mine.json.id);
  });

  test.each(['', ' ', 'a b', 'a, b', 'x'.repeat(256), 'ü', 'a\tb'])('%j is refused', async (key) => {
    const answer = await post('/v1/jobs', { task: 'echo' }, key);
    expectProblem(answer, 400, 'validation');
    expect(answer.json.errors).toEqual([{ path: 'Idempotency-Key', message: expect.any(String) }]);
    expect(await jobs()).toEqual([]);
  });

  test('may be any visible ASCII, and lies in no key of another name', async () => {
    const keys = ['__proto__', '*', '{}', '{wg:0}', 'a:b', ':marks', '"q"', '\\', 'x'.repeat(255), '%00'];
    const ids = new Set<string>();
    for (const key of keys) ids.add((await post('/v1/jobs', { task: 'echo' }, key)).json.id);
    for (const key of keys) ids.add((await post('/v1/jobs', { task: 'echo' }, key)).json.id);
    expect(ids.size).toBe(keys.length);
    const records = await keysOf(redis, `*:tenant:t${tenants}:once:*`);
    expect(records).toHaveLength(keys.length);
    for (const record of records) {
      expect(record).toMatch(/:once:[A-Za-z0-9_-]{43}$/);
      const ttl = await redis.pttl(record);
      expect(ttl).toBeGreaterThan(86_000_000);
      expect(ttl).toBeLessThanOrEqual(86_400_000);
    }
    expect(await keysOf(redis, '*:marks')).toEqual([]);
  });
});

describe('what is refused before anything is stored', () => {
  test('leaves the key free', async () => {
    await api.admin('PUT', `/v1/tenants/t${tenants}`, { body: { maxWaiting: 0 } });
    for (const [path, body, code] of [
      ['/v1/jobs', { task: 'nope' }, 'unknown_task'],
      ['/v1/jobs', { task: 'sleep' }, 'invalid_payload'],
      ['/v1/jobs', { task: 'echo', colour: 1 }, 'validation'],
      ['/v1/jobs', { task: 'echo' }, 'queue_full'],
      ['/v1/flows', TREE, 'queue_full'],
    ] as const) {
      expect((await post(path, body, 'k')).json.code).toBe(code);
    }
    const full = await post('/v1/jobs/batch', { jobs: [{ task: 'echo' }] }, 'k');
    expect(full.json.results[0].problem.code).toBe('queue_full');
    await api.admin('PUT', `/v1/tenants/t${tenants}`, { body: { maxWaiting: null } });
    const admitted = (): Promise<Answer> => post('/v1/jobs', { task: 'echo' }, 'k');
    await eventually('there is room', async () => (await admitted()).status === 202);
    expect(await jobs()).toHaveLength(1);
  });

  test('a repeat needs no room', async () => {
    const first = await post('/v1/jobs', { task: 'echo' }, 'k');
    await api.admin('PUT', `/v1/tenants/t${tenants}`, { body: { maxWaiting: 0 } });
    expect((await post('/v1/jobs', { task: 'echo' }, 'k')).text).toBe(first.text);
  });

  test('a job whose key is taken leaves its own free', async () => {
    const body = { task: 'echo', key: 'x', keyStrategy: 'reject' };
    const { json } = await post('/v1/jobs', body, 'first');
    expectProblem(await post('/v1/jobs', body, 'second'), 409, 'conflict');
    const batch = await post('/v1/jobs/batch', { jobs: [body, { task: 'echo' }] }, 'third');
    expect(batch.json.results).toMatchObject([{ problem: { code: 'conflict' } }, { id: expect.any(String) }]);
    expect((await post('/v1/jobs/batch', { jobs: [body, { task: 'echo' }] }, 'third')).text).toBe(batch.text);
    expect((await jobs()).map(({ id }) => id)).toContain(json.id);
    expect(await jobs()).toHaveLength(2);
  });
});

describe('together with dedupe', () => {
  const job = (payload: unknown): object => ({
    task: 'echo',
    payload,
    dedupe: { id: 'd', mode: 'accumulate' },
  });

  test('a repeat adds nothing to the job that stands, and says again that it was no new one', async () => {
    const first = await post('/v1/jobs', job(1), 'k1');
    expect([first.status, first.headers['waggle-deduplicated']]).toEqual([202, undefined]);
    const second = await post('/v1/jobs', job(2), 'k2');
    expect([second.status, second.headers['waggle-deduplicated'], second.json.id]).toEqual([
      202,
      'true',
      first.json.id,
    ]);
    const again = await post('/v1/jobs', job(2), 'k2');
    expect([again.text, again.headers['waggle-deduplicated'], again.headers['idempotency-replayed']]).toEqual(
      [second.text, 'true', 'true'],
    );
    expect((await post('/v1/jobs', job(1), 'k1')).text).toBe(first.text);
    expect(await jobs()).toMatchObject([{ id: first.json.id, payload: { payloads: [1, 2] } }]);
  });

  test('without a key, and in batches', async () => {
    const first = await api.call('POST', '/v1/jobs', { token, body: job(1) });
    const second = await api.call('POST', '/v1/jobs', { token, body: job(2) });
    expect([first.headers['waggle-deduplicated'], second.headers['waggle-deduplicated']]).toEqual([
      undefined,
      'true',
    ]);
    const batch = { jobs: [job(3), job(4)] };
    const answer = await post('/v1/jobs/batch', batch, 'k');
    expect(answer.json.results).toEqual([
      { index: 0, id: first.json.id },
      { index: 1, id: first.json.id },
    ]);
    expect((await post('/v1/jobs/batch', batch, 'k')).text).toBe(answer.text);
    expect(await jobs()).toMatchObject([{ payload: { payloads: [1, 2, 3, 4] } }]);
  });

  test('a flow takes none', async () => {
    const answer = await post('/v1/flows', { tree: job(1) }, 'k');
    expectProblem(answer, 400, 'validation');
    expect(answer.json.errors).toEqual([{ path: 'tree.dedupe', message: 'is not a known field' }]);
  });
});

test('of 50 equal requests to two processes at once one counts', async () => {
  for (const [path, body, count] of [
    ['/v1/jobs', { task: 'echo', payload: 'x' }, 1],
    ['/v1/jobs/batch', { jobs: Array.from({ length: 20 }, (_, n) => ({ task: 'echo', payload: n })) }, 20],
    ['/v1/flows', TREE, 2],
  ] as const) {
    const before = await stored();
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        post(path, body, `race ${path}`.replace(' ', '-'), { to: n % 2 ? api : other }),
      ),
    );
    const good = answers.filter(({ status }) => status === 202);
    expect(new Set(good.map(({ text }) => text)).size).toBe(1);
    expect(good.filter(({ headers }) => headers['idempotency-replayed'] === undefined)).toHaveLength(1);
    for (const answer of answers) {
      if (answer.status !== 202) expectProblem(answer, 409, 'idempotency_in_progress');
    }
    expect((await stored()) - before).toBe(count);
  }
  const adding = { task: 'echo', payload: 'once', dedupe: { id: 'd', mode: 'accumulate' } };
  await Promise.all(
    Array.from({ length: 50 }, (_, n) => post('/v1/jobs', adding, 'adding', { to: n % 2 ? api : other })),
  );
  expect((await jobs())[0]?.payload).toEqual({ payloads: ['once'] });
});

test('a process that is killed at any moment leaves each request done once or not at all', async () => {
  const requests = Array.from({ length: 60 }, (_, n) => {
    const path = ['/v1/jobs', '/v1/jobs/batch', '/v1/flows', '/v1/jobs'][n % 4] ?? '';
    const job = { task: 'echo', payload: n };
    const bodies = { '/v1/jobs': job, '/v1/jobs/batch': { jobs: [job] }, '/v1/flows': { tree: job } };
    const headers = n % 4 === 3 ? { Prefer: 'wait=20' } : {};
    return { n, path, body: bodies[path as keyof typeof bodies], headers };
  });
  const before = await stored();
  const answered = new Map<number, string>();
  for (const afterAnswers of [0, 9]) {
    const victim = await startApi(redisUrl);
    const sent = requests.map(async ({ n, path, body, headers }) => {
      const answer = await post(path, body, `k${n}`, { to: victim, headers });
      if (answer.status >= 300) return;
      if (answered.has(n)) expect(answer.text).toBe(answered.get(n));
      answered.set(n, answer.text);
      if (answered.size > afterAnswers) victim.process.child.kill('SIGKILL');
    });
    if (afterAnswers === 0) {
      await eventually(
        'something is stored',
        async () => (await redis.dbsize()) > 0 && (await jobs()).length > 0,
      );
      victim.process.child.kill('SIGKILL');
    }
    await Promise.allSettled(sent);
    victim.process.child.kill('SIGKILL');
    await victim.process.exited;
    await lapseLeases();
  }
  await Promise.all(
    requests.map(async ({ n, path, body }) => {
      const answer = await post(path, body, `k${n}`);
      expect([200, 202]).toContain(answer.status);
      if (answered.has(n)) expect(answer.text).toBe(answered.get(n));
    }),
  );
  expect((await stored()) - before).toBe(requests.length);
  const payloads = (await jobs()).map(({ payload }) => payload as number);
  expect(payloads.sort((a, b) => a - b)).toEqual(requests.map(({ n }) => n));
});

test('whose answer was lost gets the job as it is, and from then on always that', async () => {
  const body = { task: 'sleep', payload: { ms: 1 }, queue: 'nobody' };
  const victim = await startApi(redisUrl);
  const lost = post('/v1/jobs', body, 'k', { to: victim, headers: { Prefer: 'wait=60' } });
  await eventually('it is stored', async () => (await jobs()).length === 1);
  victim.process.child.kill('SIGKILL');
  await expect(lost).rejects.toThrow();
  expect((await post('/v1/jobs', body, 'k')).status).toBe(409);
  await lapseLeases();
  const answers = await Promise.all(Array.from({ length: 4 }, () => post('/v1/jobs', body, 'k')));
  const [first] = await jobs();
  for (const answer of [...answers, await post('/v1/jobs', body, 'k')]) {
    expect([answer.status, answer.json.id, answer.headers['idempotency-replayed']]).toEqual([
      202,
      first?.id,
      'true',
    ]);
  }
});

test('random requests with few keys do what a plain model says', async () => {
  const bodies = [{ task: 'echo', payload: 0 }, { task: 'echo', payload: 1 }, { task: 'nope' }];
  const step = fc.record({
    key: fc.constantFrom('a', 'b', 'c', undefined),
    body: fc.constantFrom(...bodies),
    path: fc.constantFrom('/v1/jobs', '/v1/jobs/batch', '/v1/flows'),
    to: fc.boolean(),
  });
  let round = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      round += 1;
      const known = new Map<string, { request: string; text: string }>();
      const texts = new Set<string>();
      for (const { key, body, path, to } of steps) {
        const sent = path === '/v1/jobs' ? body : path === '/v1/flows' ? { tree: body } : { jobs: [body] };
        const request = path + JSON.stringify(sent);
        const name = `${round}-${key}`;
        const headers = key === undefined ? {} : { 'Idempotency-Key': name };
        const answer = await (to ? api : other).call('POST', path, { token, body: sent, headers });
        const before = key === undefined ? undefined : known.get(name);
        if (before) {
          const isSame = before.request === request;
          expect(answer.status).toBe(isSame ? 202 : 422);
          if (isSame) expect(answer.text).toBe(before.text);
          else expect(answer.json.code).toBe('idempotency_key_reused');
        } else if (body.task === 'nope') {
          expect(answer.text).toContain('unknown_task');
        } else {
          expect(answer.status).toBe(202);
          expect(texts.has(answer.text)).toBe(false);
          texts.add(answer.text);
          if (key !== undefined) known.set(name, { request, text: answer.text });
        }
      }
    }),
    { numRuns: 30 },
  );
});
