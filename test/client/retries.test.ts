import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { linesOf } from '../../src/client/lines.ts';
import { startEmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import type { EmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import { startApi } from '../api/support/api.ts';
import type { Api } from '../api/support/api.ts';
import { eventually } from '../support/eventually.ts';
import { allOf, watchedClient } from './support.ts';
import { freePort } from '../support/ports.ts';

let redis: EmbeddedRedis;
let api: Api;

beforeAll(async () => {
  redis = await startEmbeddedRedis({ port: await freePort() });
  api = await startApi(redis.url);
});
afterAll(async () => {
  await api?.stop();
  await redis?.stop();
});

const LATER = { task: 'echo', delayMs: 3_600_000 };

function refusal(status: number, code: string, retryAfter?: string): Response {
  const headers = retryAfter === undefined ? {} : { 'Retry-After': retryAfter };
  return new Response(JSON.stringify({ code, status, detail: 'Not now.' }), { status, headers });
}

describe('a job whose first answer is lost', () => {
  test('is enqueued once, whatever it takes', async () => {
    const { client, sent } = watchedClient(api, { tenant: 'lost' }, (n, go) =>
      n < 2 ? go().then(() => Promise.reject(new TypeError('the cable was cut'))) : undefined,
    );
    const job = await client.jobs.create(LATER);
    expect(sent.map(({ path }) => path)).toEqual(['/v1/jobs', '/v1/jobs', '/v1/jobs']);
    const keys = new Set(sent.map(({ headers }) => headers.get('idempotency-key')));
    expect(keys.size).toBe(1);
    expect((await allOf(client.jobs.list())).map(({ id }) => id)).toEqual([job.id]);
    // Another call is another job.
    expect((await client.jobs.create(LATER)).id).not.toBe(job.id);
  });

  test('is not sent again when it may not be', async () => {
    const lose = (): Promise<Response> => Promise.reject(new TypeError('the cable was cut'));
    const none = watchedClient(api, { maxRetries: 0 }, lose);
    await expect(none.client.jobs.create(LATER)).rejects.toMatchObject({ code: 'unreachable', status: 0 });
    expect(none.sent.length).toBe(1);
    // A key that was made, and whose secret got lost, would be one too many.
    const { client, sent } = watchedClient(api, {}, lose);
    await expect(client.keys.create('acme')).rejects.toMatchObject({ code: 'unreachable' });
    expect(sent.length).toBe(1);
  });
});

test('what was asked to wait waits as long as it was asked, and no retry is made of a refusal', async () => {
  const { client, sent } = watchedClient(api, {}, (n) =>
    n === 0 ? Promise.resolve(refusal(429, 'rate_limited', '2')) : undefined,
  );
  const startedAt = performance.now();
  await client.jobs.page();
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(2000);
  expect(sent.length).toBe(2);

  const asked = watchedClient(api, {}, () => Promise.resolve(refusal(429, 'rate_limited', '3600')));
  await expect(asked.client.me()).rejects.toMatchObject({ code: 'rate_limited', retryAfterMs: 3_600_000 });
  expect(asked.sent.length).toBe(1);
  const refused = watchedClient(api, {}, () => Promise.resolve(refusal(409, 'conflict')));
  await expect(refused.client.jobs.create(LATER)).rejects.toMatchObject({ code: 'conflict', status: 409 });
  expect(refused.sent.length).toBe(1);
  const foreign = watchedClient(api, {}, () =>
    Promise.resolve(new Response('<h1>Hello</h1>', { status: 418 })),
  );
  await expect(foreign.client.me()).rejects.toMatchObject({ code: 'unexpected_answer', problem: null });
});

test('what was removed by an attempt whose answer is lost is removed', async () => {
  const { client, sent } = watchedClient(api, {}, (n, go) =>
    n === 1 ? go().then(() => refusal(502, 'bad_gateway')) : undefined,
  );
  await client.queues.put('mail', { maxRunning: 1 });
  await client.queues.remove('mail');
  expect(sent.map(({ method }) => method)).toEqual(['PUT', 'DELETE', 'DELETE']);
  await expect(client.queues.remove('mail')).rejects.toMatchObject({ code: 'not_found' });
});

test('lines of a connection that says nothing any more end in time, and a line without an end is none', async () => {
  const encoder = new TextEncoder();
  const silent = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(encoder.encode('{"n":1}\n\n{"n":')),
  });
  const seen: string[] = [];
  const reading = async (): Promise<void> => {
    for await (const line of linesOf(new Response(silent), 50)) seen.push(line);
  };
  await expect(reading()).rejects.toMatchObject({ name: 'WaggleError', code: 'timeout' });
  expect(seen).toEqual(['{"n":1}']);
  const whole = ['é 1', 'two'].map((line) => `${line}\n`).join('');
  expect(await allOf(linesOf(new Response(`${whole}cut o`), 1000))).toEqual(['é 1', 'two']);
});

test('an attempt without an answer is given up in time, and a caller’s signal ends all attempts', async () => {
  const silent = (_n: number, _go: unknown, signal?: AbortSignal | null): Promise<Response> =>
    new Promise((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason as Error));
    });
  const { client, sent } = watchedClient(api, { timeoutMs: 20, maxRetries: 1 }, silent);
  await expect(client.jobs.get('default.1')).rejects.toMatchObject({ code: 'timeout', status: 0 });
  expect(sent.length).toBe(2);

  const caller = new AbortController();
  const reason = new Error('given up');
  const away = watchedClient(api, {}, () => {
    caller.abort(reason);
    return Promise.reject(new TypeError('the cable was cut'));
  });
  await expect(away.client.me({ signal: caller.signal })).rejects.toBe(reason);
  expect(away.sent.length).toBe(1);
});

test('an outage of Redis is sat out: a job is enqueued once, and lines say where to go on', async () => {
  const before = watchedClient(api, { tenant: 'outage' });
  const { port } = redis;
  await redis.stop();
  await eventually('the loss is noticed', async () => (await api.call('GET', '/readyz')).status === 503);

  const { client, sent } = watchedClient(api, { tenant: 'outage', maxRetries: 30 });
  const created = client.jobs.create(LATER);
  await eventually('it is refused and tries again', () => sent.length >= 2);
  const lines = allOf(before.client.jobs.batchLines([LATER, LATER]));
  await expect(lines).rejects.toMatchObject({ resumeAt: 0, code: 'redis_unavailable', status: 503 });
  redis = await startEmbeddedRedis({ port });
  const { id } = await created;
  expect((await allOf(before.client.jobs.list())).map((job) => job.id)).toEqual([id]);
});
