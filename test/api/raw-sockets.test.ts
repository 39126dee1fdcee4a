/** What no proper client does to a connection: each ends, in words where there is still somebody to talk to. */
import { connect, Socket } from 'node:net';
import type { RequestListener } from 'node:http';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startServer } from '../../src/api/server.ts';
import type { HttpServer } from '../../src/api/server.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Api } from './support/api.ts';
import { expectMannerly } from './support/fuzz/manners.ts';
import { dribble, exchange, vanish } from './support/raw.ts';
import type { RawAnswer } from './support/raw.ts';

const JSON_TYPE = 'Content-Type: application/json';

let api: Api;
let token: string;
/** Begun first and looked at last: their time runs while the other tests do. */
let slow: Promise<RawAnswer[]>;

beforeAll(async () => {
  api = await startApi(await freshRedisUrl());
  token = await api.key('acme');
  slow = Promise.all([
    dribble(api.port, 'GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: '),
    dribble(
      api.port,
      head('POST /v1/jobs', [`Authorization: Bearer ${token}`, JSON_TYPE, 'Content-Length: 100000']),
    ),
    dribble(api.port, head('POST /v1/jobs', ['Content-Length: 100000'])),
    // A stream may be slow as long as it goes on: this one stops.
    exchange(
      api.port,
      `${head('POST /v1/jobs/batch', [`Authorization: Bearer ${token}`, 'Content-Type: application/x-ndjson', 'Content-Length: 1000'])}{"task":`,
      { withinMs: 120_000 },
    ),
    exchange(api.port, '', { withinMs: 120_000 }),
  ]);
});
afterAll(() => api.stop());

function head(request: string, headers: string[] = []): string {
  return [`${request} HTTP/1.1`, 'Host: x', ...headers, '', ''].join('\r\n');
}

/** The statuses of all answers in what came over a connection. */
function statuses({ head: first, body }: RawAnswer): number[] {
  return [...`${first}\r\n\r\n${body}`.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

test('a tunnel is refused in words', async () => {
  const answer = await exchange(
    api.port,
    'CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n',
  );
  expect(answer.status).toBe(404);
  expectMannerly(answer, 'CONNECT');
});

test('a request names its host, once', async () => {
  for (const hosts of ['', 'Host: x\r\nhost: y\r\n']) {
    const answer = await exchange(api.port, `GET /livez HTTP/1.1\r\n${hosts}Connection: close\r\n\r\n`);
    expect(answer.status).toBe(400);
    expectMannerly(answer, 'GET');
  }
  const old = (hosts: string): Promise<RawAnswer> =>
    exchange(api.port, `GET /livez HTTP/1.0\r\n${hosts}\r\n`);
  expect((await old('')).status).toBe(200);
  expect((await old('Host: x\r\nHost: y\r\n')).status).toBe(400);
  expect((await old(`Host: x\r\n${'a:\r\n'.repeat(1100)}Host: y\r\n`)).status).toBe(400);
});

test('requests sent at once are answered in order, and nonsense after them in its turn', async () => {
  const [long, livez] = [
    head('GET /v1/jobs?limit=1', [`Authorization: Bearer ${token}`]),
    head('GET /livez', []),
  ];
  const last = head('GET /nope', ['Connection: close']);
  expect(statuses(await exchange(api.port, long + livez + last))).toEqual([200, 200, 404]);
  for (const nonsense of ['nonsense\r\n\r\n', 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n']) {
    const answer = await exchange(api.port, long + livez + nonsense);
    expect(statuses(answer)).toEqual([200, 200, nonsense.startsWith('CONNECT') ? 404 : 400]);
    expect(answer.body.match(/^x-request-id: /gim)).toHaveLength(2);
  }
});

test('nonsense in the body of a request is its answer, and never stands in the middle of one', async () => {
  const chunked = [`Authorization: Bearer ${token}`, 'Transfer-Encoding: chunked'];
  const plain = await exchange(api.port, `${head('POST /v1/jobs', [...chunked, JSON_TYPE])}nonsense\r\n`);
  expect(statuses(plain)).toEqual([400]);
  expectMannerly(plain, 'POST');
  const streamed = await new Promise<string>((resolve) => {
    let text = '';
    const socket = connect(api.port, '127.0.0.1');
    socket.write(`${head('POST /v1/jobs/batch', [...chunked, 'Content-Type: application/x-ndjson'])}`);
    socket.write('10\r\n{"task":"echo"}\n\r\n');
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      // Once the answer has begun.
      if (text.includes('"index":0')) socket.write('nonsense\r\n');
    });
    socket.on('close', () => resolve(text));
  });
  expect(streamed).toContain('"index":0');
  expect(streamed.match(/HTTP\/1\.1/g)).toHaveLength(1);
});

test('a caller who has nothing more to say is answered; one who left in the middle of a request costs nothing', async () => {
  const answer = await exchange(api.port, head('GET /livez', ['Connection: close']), { halfClose: true });
  expect(answer.status).toBe(200);
  const cut = await exchange(api.port, `${head('POST /v1/jobs', ['Content-Length: 100'])}{`, {
    halfClose: true,
  });
  expectMannerly(cut, 'POST');
  await Promise.all(
    Array.from({ length: 50 }, () => vanish(api.port, `${head('POST /v1/jobs', ['Content-Length: 100'])}{`)),
  );
  expect((await api.call('GET', '/livez')).status).toBe(200);
});

test('requests that were sent together end together when their caller leaves, and hold up no drain', async () => {
  let closed = 0;
  let server: HttpServer | undefined;
  await new Promise<void>((resolve) => {
    let seen = 0;
    const app: RequestListener = (_req, res) => {
      res.once('close', () => {
        closed += 1;
        if (closed === 3) resolve();
      });
      seen += 1;
      // Nobody is answered.
      if (seen === 3) caller.destroy();
    };
    const caller = new Socket();
    void startServer(app, 0).then((started) => {
      server = started;
      caller.on('error', () => undefined).connect(server.port, '127.0.0.1');
      caller.write(head('GET /') + head('GET /', ['Expect: moon']) + head('GET /'));
    });
  });
  await server?.drain(60_000);
  expect(closed).toBe(3);
});

test('large header fields, continuing and upgrades', async () => {
  const answerTo = (headers: string[], body = ''): Promise<RawAnswer> =>
    exchange(
      api.port,
      head(`${body === '' ? 'GET' : 'POST'} /livez`, [...headers, 'Connection: close']) + body,
    );
  expect((await answerTo([`X-Big: ${'x'.repeat(10_000)}`])).status).toBe(200);
  const tooBig = await answerTo([`X-Big: ${'x'.repeat(20_000)}`]);
  expect(tooBig.status).toBe(413);
  expectMannerly(tooBig, 'GET');
  expect((await answerTo(['Upgrade: websocket', 'Connection: Upgrade'])).status).toBe(200);
  expect((await answerTo(['Expect: 100-continue', 'Content-Length: 1'], 'x')).status).toBe(404);
  expect((await answerTo(['Expect: 200-perhaps'])).status).toBe(200);
});

test('a caller who takes nothing of its answer is cut off', async () => {
  let server: HttpServer | undefined;
  // It neither reads nor closes, so nothing else could end the connection.
  await new Promise<void>((resolve) => {
    const app: RequestListener = (req, res) => {
      req.socket.once('close', () => resolve());
      res.end(Buffer.alloc(64 * 1024 * 1024));
    };
    void startServer(app, 0, 300).then((started) => {
      server = started;
      connect(server.port, '127.0.0.1')
        .on('error', () => undefined)
        .pause()
        .write(head('GET /'));
    });
  });
  await server?.drain(1000);
});

test('whoever sends headers or a body too slowly is told so, and a connection without a request ends', async () => {
  const [headers, body, refused, stream, nothing] = await slow;
  for (const answer of [headers, body]) {
    expectMannerly(answer as RawAnswer, 'GET');
    expect(answer?.status).toBe(400);
    expect(answer?.body).toContain('did not arrive in time');
  }
  expect(refused?.status).toBe(401);
  expect(stream?.status).toBe(202);
  expect(stream?.body).toContain('did not arrive in time');
  expect(nothing?.status).toBe(400);
  expect((await api.call('GET', '/livez')).status).toBe(200);
});
