import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api, CallOptions } from './support/api.ts';
import { expectProblem } from './support/problems.ts';
import { exchange } from './support/raw.ts';

let api: Api;
let token: string;

beforeAll(async () => {
  api = await startApi(await freshRedisUrl());
  token = await api.key('acme');
});
afterAll(() => api.stop());

const post = (options: CallOptions, path = '/v1/jobs'): Promise<Answer> =>
  api.call('POST', path, { token, ...options });
const JSON_TYPE = { 'Content-Type': 'application/json' };

test('malformed JSON', async () => {
  for (const raw of [
    '{',
    '',
    'nope',
    '{"task":"echo",}',
    '\u0000',
    '{"task":"echo"}{',
    Buffer.from([0x22, 0xff, 0x22]),
  ]) {
    expectProblem(await post({ raw, headers: JSON_TYPE }), 400, 'malformed_json');
  }
  expectProblem(await post({}), 400, 'malformed_json');
});

test('validation names every field at fault', async () => {
  const answer = await post({ body: { task: 'Echo', priority: 10, tags: [''], colour: 'red', dedupe: 'k' } });
  expectProblem(answer, 400, 'validation');
  expect(answer.json.errors.map((error: { path: string }) => error.path).sort()).toEqual([
    'colour',
    'dedupe',
    'priority',
    'tags.0',
    'task',
  ]);
  const flow = await api.call('POST', '/v1/flows', { token, body: { tree: { task: 'echo' }, graph: {} } });
  expect(flow.json.errors).toContainEqual({ path: 'graph', message: 'is not available yet' });
});

test('bodies that are JSON but no object', async () => {
  for (const body of [null, 1, 'text', [], [{ task: 'echo' }], true]) {
    expectProblem(await post({ body }), 400, 'validation');
  }
});

test('nesting that would overflow a stack is refused', async () => {
  for (const depth of [300, 100_000]) {
    const payload = '['.repeat(depth) + ']'.repeat(depth);
    expectProblem(
      await post({ raw: `{"task":"echo","payload":${payload}}`, headers: JSON_TYPE }),
      400,
      'validation',
    );
  }
});

test('__proto__ and constructor in a body are fields like any other, and pollute nothing', async () => {
  for (const raw of [
    '{"task":"echo","__proto__":{"admin":true}}',
    '{"task":"echo","constructor":{"prototype":{"admin":true}}}',
  ]) {
    expectProblem(await post({ raw, headers: JSON_TYPE }), 400, 'validation');
  }
  const answer = await post({
    raw: '{"task":"echo","payload":{"__proto__":{"admin":true}}}',
    headers: JSON_TYPE,
  });
  expect(answer.status).toBe(202);
  expect(answer.text).toContain('"payload":{"__proto__":{"admin":true}}');
});

test('only plain UTF-8 JSON is taken', async () => {
  const raw = '{"task":"echo"}';
  for (const headers of [
    {},
    { 'Content-Type': 'text/plain' },
    { 'Content-Type': 'application/x-www-form-urlencoded' },
    { 'Content-Type': 'application/jsonx' },
    { 'Content-Type': 'application/json; charset=utf-16' },
    { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' },
  ]) {
    expectProblem(await post({ raw, headers }), 415, 'unsupported_media_type');
  }
  for (const type of ['application/json; charset=UTF-8', 'application/vnd.waggle+json', 'APPLICATION/JSON']) {
    expect((await post({ raw, headers: { 'Content-Type': type } })).status).toBe(202);
  }
});

test('a body over the limit is refused, announced or not', async () => {
  const raw = JSON.stringify({ task: 'echo', payload: 'x'.repeat(1024 * 1024) });
  expectProblem(await post({ raw, headers: JSON_TYPE }), 413, 'payload_too_large');
  const chunked = { ...JSON_TYPE, 'Transfer-Encoding': 'chunked' };
  expectProblem(await post({ raw, headers: chunked }), 413, 'payload_too_large');
});

test('a payload over its own limit is refused', async () => {
  expectProblem(
    await post({ body: { task: 'echo', payload: 'x'.repeat(257 * 1024) } }),
    413,
    'payload_too_large',
  );
});

test('a task nobody defined, and a payload its task refuses', async () => {
  expectProblem(await post({ body: { task: 'no.such.task' } }), 422, 'unknown_task');
  const answer = await post({ body: { task: 'sleep', payload: { ms: 'long' } } });
  expectProblem(answer, 422, 'invalid_payload');
  expect(answer.json.errors[0].path).toBe('payload.ms');
});

test('what does not exist', async () => {
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', '/v1'],
    ['GET', '/v1/nope'],
    ['DELETE', '/v1/jobs'],
    ['PUT', '/v1/jobs/default.01JZ3QK0M4Y8W6T2N5R7S9V1XC'],
    ['OPTIONS', '/v1/jobs'],
    ['GET', '/V1/JOBS'],
    ['GET', '/v1/jobs/nope'],
    ['GET', '/v1/jobs/default.01JZ3QK0M4Y8W6T2N5R7S9V1XC'],
    ['GET', '/v1/jobs/%00'],
    ['GET', '/v1/jobs/..%2f..%2fetc'],
    ['GET', '/v1/jobs/__proto__'],
    ['GET', '/v1/flows/default.01JZ3QK0M4Y8W6T2N5R7S9V1XC'],
    ['GET', '/.env'],
  ] as const) {
    expectProblem(await api.call(method, path, { token }), 404, 'not_found');
  }
  expectProblem(await api.admin('GET', '/v1/tenants/Not%20A%20Tenant'), 404, 'not_found');
  expectProblem(await api.admin('POST', '/v1/tenants/Not%20A%20Tenant/keys', { body: {} }), 404, 'not_found');
});

test('paths and queries that cannot be read', async () => {
  for (const path of [
    '/v1/jobs/%',
    '/v1/jobs/%E0%A4%A',
    '/v1/flows/%zz',
    '/v1/jobs?state=active&state=failed',
  ]) {
    expectProblem(await api.call('GET', path, { token }), 400, 'validation');
  }
  for (const path of [
    '/v1/jobs?nope=1',
    '/v1/jobs?__proto__=1',
    '/v1/jobs?limit=0',
    '/v1/jobs?limit=many',
    '/v1/jobs?state=nope',
    '/v1/jobs?cursor=%00%ff',
    '/v1/jobs/x?wait=',
    '/v1/jobs/x?wait=-1',
    '/v1/jobs/x?wait=long',
    '/v1/jobs/x?wait=1e1',
  ]) {
    expectProblem(await api.call('GET', path, { token }), 400, 'validation');
  }
});

test('a tenant that cannot be', async () => {
  expectProblem(await api.admin('PUT', '/v1/tenants/NO', { body: { weight: 1 } }), 400, 'validation');
  expectProblem(await api.admin('PUT', '/v1/tenants/acme', { body: { weight: 0 } }), 400, 'validation');
  expectProblem(await api.admin('PUT', '/v1/tenants/acme', { body: { maxRunning: -3 } }), 400, 'validation');
});

test('bytes that are no HTTP request get a problem document too', async () => {
  const answers = await Promise.all([
    exchange(api.port, 'nonsense\r\n\r\n'),
    exchange(api.port, `GET /livez HTTP/1.1\r\nHost: x\r\nX-Big: ${'x'.repeat(20_000)}\r\n\r\n`),
    exchange(api.port, 'GET /livez HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n'),
    exchange(
      api.port,
      'POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
    ),
  ]);
  expect(answers.map((answer) => answer.head.split('\r\n')[0])).toEqual([
    'HTTP/1.1 400 Bad Request',
    'HTTP/1.1 413 Content Too Large',
    'HTTP/1.1 400 Bad Request',
    'HTTP/1.1 400 Bad Request',
  ]);
  for (const answer of answers) expect(answer.head).toContain('Content-Type: application/problem+json');
});
