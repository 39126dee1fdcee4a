import { Agent, request } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { afterAll, expect, test } from '@jest/globals';
import { freshRedisUrl } from '../support/redis.ts';
import { ADMIN_TOKEN, send, startApi } from './support/api.ts';
import type { Api } from './support/api.ts';
import { expectProblem } from './support/problems.ts';

const TENANT = { 'X-Tenant-Id': 'acme' };
let api: Api | undefined;
afterAll(() => api?.process.stop());

test.each(['SIGTERM', 'SIGINT'] as const)(
  '%s drains: what runs is finished, what is new is sent away',
  async (signal) => {
    api = await startApi(await freshRedisUrl());
    const { port } = api;
    const job = (
      await api.admin('POST', '/v1/jobs', { body: { task: 'echo', delayMs: 60_000 }, headers: TENANT })
    ).json;

    const poll = api.admin('GET', `/v1/jobs/${job.id}?wait=60`, { headers: TENANT });
    const kept = new Agent({ keepAlive: true, maxSockets: 1 });
    expect((await send(port, 'GET', '/readyz', { agent: kept })).status).toBe(200);
    const upload = startUpload(port);
    await upload.continued;

    const startedAt = performance.now();
    process.kill(api.process.child.pid ?? 0, signal);
    await api.process.logged('draining');

    // The one connection that was idle gets an answer in words, and is closed with it.
    const refused = await send(port, 'POST', '/v1/jobs', {
      token: ADMIN_TOKEN,
      headers: TENANT,
      body: { task: 'echo' },
      agent: kept,
    });
    expectProblem(refused, 503, 'shutting_down');
    expect(refused.headers['retry-after']).toBe('1');
    expect(refused.headers.connection).toBe('close');

    // The long poll is answered at once, with the job as it is.
    const polled = await poll;
    expect([polled.status, polled.json.state]).toEqual([200, 'delayed']);

    // The request that had begun is finished: its job is stored.
    upload.finish();
    const stored = await upload.answer;
    expect(stored.statusCode).toBe(202);

    await expect(send(port, 'GET', '/livez', {})).rejects.toThrow('ECONNREFUSED');
    expect(await api.process.exited).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(9000);
    kept.destroy();
  },
);

test('an upload that never ends does not hold the drain for ever', async () => {
  api = await startApi(await freshRedisUrl());
  const upload = startUpload(api.port);
  await upload.continued;
  const broken = upload.answer.then(
    () => 'answered',
    () => 'broken',
  );
  const startedAt = performance.now();
  expect(await api.stop()).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(60_000);
  expect(await broken).toBe('broken');
});

test('an idle server stops at once', async () => {
  api = await startApi(await freshRedisUrl());
  const startedAt = performance.now();
  expect(await api.stop()).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(60_000);
});

interface Upload {
  /** The server has seen the request and waits for its body. */
  continued: Promise<void>;
  answer: Promise<IncomingMessage>;
  finish(): void;
}

function startUpload(port: number): Upload {
  const body = '{"task":"echo"}';
  const outgoing: ClientRequest = request({
    host: '127.0.0.1',
    port,
    method: 'POST',
    path: '/v1/jobs',
    headers: {
      ...TENANT,
      Authorization: `Bearer ${ADMIN_TOKEN}`,
      'Content-Type': 'application/json',
      'Content-Length': body.length,
      Expect: '100-continue',
    },
  });
  const continued = new Promise<void>((resolve) => outgoing.once('continue', resolve));
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', (response) => resolve(response.resume()));
    outgoing.once('error', reject);
  });
  outgoing.flushHeaders();
  return { continued, answer, finish: () => outgoing.end(body) };
}
