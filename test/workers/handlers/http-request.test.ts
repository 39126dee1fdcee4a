import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { httpRequest } from '../../../queues/tasks/http-request.ts';
import { createAgent } from '../../../workers/handlers/http/guarded-agent.ts';
import { httpRequestHandler } from '../../../workers/handlers/http-request.ts';
import { retryAfterMs } from '../../../workers/handlers/http/retry-after.ts';
import type { Registration } from '../../../workers/handlers/registry.ts';
import type { JobContext } from '../../../workers/runtime/context.ts';
import { silent } from '../support.ts';

let server: Server;
let origin: string;
let requests: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[] = [];
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const open = createAgent({ allowPrivateTargets: true });
const guarded = createAgent({ allowPrivateTargets: false });
const permissive = httpRequestHandler({ agent: open, allowPrivateTargets: true, tracing: null });
const strict = httpRequestHandler({ agent: guarded, allowPrivateTargets: false, tracing: null });

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      requests.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body });
      answer(request, response);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

beforeEach(() => {
  requests = [];
  answer = (_request, response) => response.end('ok');
});

afterAll(async () => {
  await Promise.all([open.destroy(), guarded.destroy()]);
  server.closeAllConnections();
  server.close();
});

async function call(
  handler: Registration,
  payload: Record<string, unknown>,
  signal?: AbortSignal,
): Promise<unknown> {
  const ctx: JobContext = {
    job: {
      id: 'j',
      task: 'http.request',
      queue: 'default',
      payload: httpRequest.payload.parse(payload),
      tags: [],
      maxAttempts: 1,
    },
    tenant: 'acme',
    correlationId: 'corr-7',
    logger: silent,
    signal: signal ?? new AbortController().signal,
    attempt: 1,
    parents: {},
    fence: 1,
    traceparent: undefined,
    progress: () => Promise.resolve(),
    log: () => Promise.resolve(),
    chunk: () => Promise.resolve(),
  };
  return handler.run(ctx);
}

describe('a request', () => {
  test('carries method, headers, JSON body and the correlation id; the result has a safe part of the answer', async () => {
    answer = (_request, response) => {
      response.writeHead(201, {
        'content-type': 'text/plain',
        'set-cookie': 'a=b',
        'x-secret': 'c',
        etag: '"1"',
      });
      response.end('made');
    };
    const result = await call(permissive, {
      url: `${origin}/things?x=1`,
      method: 'POST',
      headers: { 'X-Thing': 'y', 'X-Correlation-Id': 'not mine' },
      body: { a: 1 },
    });
    expect(result).toEqual({
      status: 201,
      headers: { 'content-type': 'text/plain', etag: '"1"', date: expect.any(String) },
      body: 'made',
      encoding: 'utf8',
      truncated: false,
    });
    expect(requests).toMatchObject([
      {
        method: 'POST',
        url: '/things?x=1',
        headers: { 'x-thing': 'y', 'x-correlation-id': 'corr-7', 'content-type': 'application/json' },
        body: '{"a":1}',
      },
    ]);
  });

  test('does not follow a redirect: it is the result', async () => {
    answer = (_request, response) => response.writeHead(302, { location: 'http://169.254.169.254/' }).end();
    expect(await call(permissive, { url: origin })).toMatchObject({
      status: 302,
      headers: { location: 'http://169.254.169.254/' },
    });
    expect(requests).toHaveLength(1);
  });

  test('reads no more of the body than its limit', async () => {
    answer = (_request, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(64 * 1024)));
        response.once('drain', more);
      };
      more();
    };
    const result = (await call(permissive, { url: origin })) as { body: string; truncated: boolean };
    expect(result.truncated).toBe(true);
    expect(result.body).toHaveLength(256 * 1024);
  });

  test('keeps what is not text as base64', async () => {
    answer = (_request, response) => response.end(Buffer.from([0xff, 0xfe, 0x00]));
    expect(await call(permissive, { url: origin })).toMatchObject({ body: '//4A', encoding: 'base64' });
  });

  test.each([500, 503, 408, 429])('status %i is retried', async (status) => {
    answer = (_request, response) => response.writeHead(status, { 'retry-after': '7' }).end('busy');
    await expect(call(permissive, { url: origin })).rejects.toMatchObject({
      code: 'http_status',
      retryable: true,
      retryAfterMs: 7000,
      message: `The target answered ${status}: busy`,
    });
  });

  test.each([400, 401, 404, 422])('status %i is final', async (status) => {
    answer = (_request, response) => response.writeHead(status).end();
    await expect(call(permissive, { url: origin })).rejects.toMatchObject({
      code: 'http_status',
      retryable: false,
    });
  });

  test('an error of the network is retried', async () => {
    answer = (request) => request.socket.destroy();
    await expect(call(permissive, { url: origin })).rejects.toMatchObject({
      code: 'network_error',
      retryable: true,
    });
    await expect(call(permissive, { url: 'http://127.0.0.1:1' })).rejects.toMatchObject({
      code: 'network_error',
    });
  });

  test('an abort ends it, and its reason comes through', async () => {
    const abort = new AbortController();
    const reason = new Error('enough');
    answer = () => abort.abort(reason);
    await expect(call(permissive, { url: origin }, abort.signal)).rejects.toBe(reason);
  });

  test('headers that belong to the connection cannot be set', async () => {
    for (const name of ['Host', 'Transfer-Encoding', 'Connection']) {
      const refused = call(permissive, { url: origin, headers: { [name]: 'x' } });
      await expect(refused).rejects.toMatchObject({ code: 'invalid_payload', retryable: false });
    }
    expect(requests).toHaveLength(0);
  });
});

describe('targets', () => {
  test('a private target is refused before anything is sent, however it is spelled', async () => {
    const { port } = new URL(origin);
    const hosts = ['127.0.0.1', 'localhost', '127.1', '0x7f000001', '[::1]', '[::ffff:127.0.0.1]', '0'];
    for (const host of hosts) {
      const refused = call(strict, { url: `http://${host}:${port}/` });
      await expect(refused).rejects.toMatchObject({ code: 'target_refused', retryable: false });
    }
    expect(requests).toHaveLength(0);
  });

  test('credentials in a URL are refused', async () => {
    const refused = call(permissive, { url: origin.replace('//', '//user:pass@') });
    await expect(refused).rejects.toMatchObject({ code: 'target_refused', retryable: false });
  });

  test('only http and https exist for the task', () => {
    for (const url of ['ftp://example.com', 'file:///etc/passwd', 'javascript:1', 'http://']) {
      expect(httpRequest.payload.safeParse({ url }).success).toBe(false);
    }
  });
});

test('Retry-After is seconds or a date', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  expect(retryAfterMs('120', now)).toBe(120_000);
  expect(retryAfterMs('Thu, 01 Jan 2026 00:00:30 GMT', now)).toBe(30_000);
  expect(retryAfterMs('Wed, 31 Dec 2025 00:00:00 GMT', now)).toBe(0);
  expect(retryAfterMs('soon', now)).toBeUndefined();
  expect(retryAfterMs(undefined, now)).toBeUndefined();
});
