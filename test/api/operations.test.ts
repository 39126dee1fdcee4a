import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { ADMIN_TOKEN, startApi } from './support/api.ts';
import type { Api } from './support/api.ts';
import { startEntry } from './support/process.ts';

let api: Api;

beforeAll(async () => {
  api = await startApi(await freshRedisUrl(), { LOG_LEVEL: 'info' });
});
afterAll(() => api.stop());

test('probes answer without a credential', async () => {
  for (const path of ['/livez', '/readyz', '/livez?from=probe']) {
    const answer = await api.call('GET', path);
    expect([answer.status, answer.json]).toEqual([200, { status: 'ok' }]);
  }
  expect((await api.call('HEAD', '/livez')).status).toBe(200);
});

test('every answer has the security headers and hides what serves it', async () => {
  for (const path of ['/livez', '/nope', '/v1/jobs', '/openapi.json', '/metrics']) {
    const { headers } = await api.call('GET', path);
    expect(headers).toMatchObject({
      'content-security-policy': "default-src 'none';frame-ancestors 'none'",
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'cache-control': 'no-store',
      'strict-transport-security': expect.any(String),
      'x-request-id': expect.any(String),
    });
    expect(headers['x-powered-by']).toBeUndefined();
    expect(headers.etag).toBeUndefined();
  }
});

test('metrics count requests by route, never by path', async () => {
  const token = await api.key('acme');
  for (const id of ['a', 'b', 'c']) await api.call('GET', `/v1/jobs/${id}`, { token });
  await api.call('GET', `/some/${'x'.repeat(20)}`);
  let text = '';
  await eventually('the answers are counted', async () => {
    text = (await api.call('GET', '/metrics')).text;
    return text.includes(
      'waggle_http_request_duration_seconds_count{route="/v1/jobs/{id}",method="GET",status="404"} 3',
    );
  });
  expect(text).toContain(
    'waggle_http_request_duration_seconds_count{route="unmatched",method="GET",status="404"}',
  );
  expect(text).toContain('waggle_http_requests_in_flight 1');
  expect(text).toContain('nodejs_eventloop_lag_seconds');
  expect(text).toContain('process_cpu_seconds_total');
  expect(text).not.toContain('/some/');
});

test('one log line per request, with its ids and without its secrets', async () => {
  const token = await api.key('acme');
  const headers = {
    'X-Request-Id': 'logged-request',
    'X-Correlation-Id': 'logged-correlation',
    Cookie: 'session=cookie-secret',
  };
  await api.call('POST', '/v1/jobs', { token, headers, body: { task: 'echo', payload: 'body-secret' } });
  await api.call('GET', '/v1/jobs?cursor=query-secret', { token });
  await api.call('GET', '/livez');
  await api.admin('GET', '/v1/tenants');
  const { lines } = api.process;
  await eventually('the last request is logged', () => lines.some((line) => line.includes('"/v1/tenants"')));

  const line = lines.map((text) => JSON.parse(text)).find((entry) => entry.requestId === 'logged-request');
  expect(line).toMatchObject({
    correlationId: 'logged-correlation',
    tenant: 'acme',
    method: 'POST',
    path: '/v1/jobs',
    route: '/v1/jobs',
    status: 202,
    durationMs: expect.any(Number),
  });
  const all = lines.join('\n');
  for (const secret of [
    token,
    ADMIN_TOKEN,
    'cookie-secret',
    'body-secret',
    'query-secret',
    'authorization',
  ]) {
    expect(all).not.toContain(secret);
  }
  expect(all).not.toContain('/livez');
});

test('a bad setting ends the process with a message that names it and shows no secret', async () => {
  for (const [env, message] of [
    [{}, 'WAGGLE_ADMIN_TOKEN is required'],
    [{ WAGGLE_ADMIN_TOKEN: 'short' }, 'WAGGLE_ADMIN_TOKEN must have 16 or more characters'],
    [{ WAGGLE_ADMIN_TOKEN: ADMIN_TOKEN, PORT: 'http' }, 'PORT'],
    [{ WAGGLE_ADMIN_TOKEN: ADMIN_TOKEN, REDIS_URL: 'localhost', WAGGLE_SHARDS: '0' }, 'REDIS_URL'],
  ] as const) {
    const ended = startEntry('src/main.ts', env);
    expect(await ended.exited).toBe(1);
    expect(ended.lines).toHaveLength(1);
    expect(ended.lines[0]).toContain(message);
    expect(ended.lines[0]).not.toContain(ADMIN_TOKEN);
    expect(ended.lines[0]).not.toContain('short');
  }
});

test('a port that is taken ends the process and says so', async () => {
  const ended = startEntry('src/main.ts', {
    WAGGLE_ADMIN_TOKEN: ADMIN_TOKEN,
    REDIS_URL: await freshRedisUrl(),
    PORT: String(api.port),
    LOG_LEVEL: 'silent',
  });
  expect(await ended.exited).toBe(1);
  expect(ended.lines.join('\n')).toContain('EADDRINUSE');
});
