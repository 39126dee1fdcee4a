import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { LineSplitter } from '../../src/api/http/lines.ts';
import { startEmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { startApi } from './support/api.ts';
import type { Answer, Api } from './support/api.ts';
import { openLines, sendLines } from './support/line-stream.ts';
import type { OutcomeLine } from './support/line-stream.ts';
import { expectProblem } from './support/problems.ts';

const HEAP_MB = 96;
/** A process of Node with that heap, with all it has besides. */
const MOST_MB = 240;

let redisUrl: string;
let api: Api;
let token: string;
let tenants = 0;

beforeAll(async () => {
  redisUrl = await freshRedisUrl();
  api = await startApi(redisUrl, { NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` });
});
afterAll(() => api.stop());

beforeEach(async () => {
  tenants += 1;
  token = await api.key(`t${tenants}`);
});

const job = (payload: unknown): string => JSON.stringify({ task: 'echo', payload });
const short = (outcomes: OutcomeLine[]): unknown[] =>
  outcomes.map(({ index, id, problem }) => [index, id === undefined ? problem?.code : 'id']);

const get = (path: string): Promise<Answer> => api.call('GET', path, { token });

async function payloads(): Promise<unknown[]> {
  const all: unknown[] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const page: Answer = await get(`/v1/jobs?limit=200${cursor === '' ? '' : `&cursor=${cursor}`}`);
    all.push(...page.json.jobs.map((each: { payload: unknown }) => each.payload));
    cursor = page.json.nextCursor;
  }
  return all.reverse();
}

describe('a batch of lines', () => {
  test('has an outcome per line of content in order, and a bad one harms no other', async () => {
    const lines = [
      job(0),
      '',
      '   \t',
      '{"task":',
      `${job(2)}\r`,
      '\r',
      '[]',
      Buffer.from([0x22, 0xff, 0x22]),
      '{"task":"nope"}',
      '{"task":"echo","__proto__":{"x":1}}',
      JSON.stringify({ task: 'echo', payload: 'x'.repeat(1024 * 1024) }),
      JSON.stringify({ task: 'echo', payload: 'x'.repeat(300 * 1024) }),
      `{"task":"echo","payload":${'['.repeat(10_000)}${']'.repeat(10_000)}}`,
      job('🐝 last, without an end'),
    ];
    const body = Buffer.concat(
      lines.flatMap((line, n) => [Buffer.from(n === 0 ? '' : '\n'), Buffer.from(line)]),
    );
    expect(short(await sendLines(api.port, token, [body]))).toEqual([
      [0, 'id'],
      [1, 'malformed_json'],
      [2, 'id'],
      [3, 'validation'],
      [4, 'malformed_json'],
      [5, 'unknown_task'],
      [6, 'validation'],
      [7, 'payload_too_large'],
      [8, 'payload_too_large'],
      [9, 'validation'],
      [10, 'id'],
    ]);
    expect(await payloads()).toEqual([0, 2, '🐝 last, without an end']);
  });

  test('is the same however its bytes are cut', async () => {
    const body = Buffer.from([job('aß🐝'), 'x', '', job(2)].join('\r\n'));
    for (const size of [1, 7]) {
      const pieces = Array.from({ length: Math.ceil(body.length / size) }, (_, n) =>
        body.subarray(n * size, (n + 1) * size),
      );
      expect(short(await sendLines(api.port, token, pieces))).toEqual([
        [0, 'id'],
        [1, 'malformed_json'],
        [2, 'id'],
      ]);
    }
    expect(await payloads()).toEqual(['aß🐝', 2, 'aß🐝', 2]);
  });

  test('of nothing has no outcomes', async () => {
    for (const body of ['', '\n\r\n\n', ' ']) expect(await sendLines(api.port, token, [body])).toEqual([]);
  });

  test('answers each line as it comes, with the head of a stream', async () => {
    const stream = openLines(api.port, token);
    const { statusCode, headers } = await stream.response;
    expect([statusCode, headers['content-type'], headers['cache-control']]).toEqual([
      202,
      'application/x-ndjson; charset=utf-8',
      'no-store',
    ]);
    for (let n = 0; n < 3; n += 1) {
      await stream.send(`${job(n)}\n`);
      await stream.received(n + 1);
    }
    stream.outgoing.end();
    const outcomes = await stream.ended;
    expect((await get(`/v1/jobs/${outcomes[1]?.id}`)).json).toMatchObject({ payload: 1 });
  });

  test('serves dedupe, room and keys line by line', async () => {
    await api.admin('PUT', `/v1/tenants/t${tenants}`, { body: { maxWaiting: 2 } });
    const same = JSON.stringify({ task: 'echo', dedupe: { id: 'd' } });
    const body = [same, same, job(1), job(2), same].join('\n');
    const outcomes = await sendLines(api.port, token, [body]);
    expect(outcomes.map(({ problem }) => problem?.code)).toEqual([
      undefined,
      undefined,
      'queue_full',
      'queue_full',
      undefined,
    ]);
    expect(new Set(outcomes.filter(({ id }) => id).map(({ id }) => id)).size).toBe(1);
  });

  test('fills the room that a tenant has to the last line', async () => {
    await api.admin('PUT', `/v1/tenants/t${tenants}`, { body: { maxWaiting: 2000 } });
    const outcomes = await sendLines(api.port, token, [Buffer.from(`${job(0)}\n`.repeat(2001))]);
    expect(outcomes.slice(0, 2000).filter(({ id }) => id === undefined)).toEqual([]);
    expect(outcomes[2000]?.problem?.code).toBe('queue_full');
  });

  test('is refused as a whole like any request', async () => {
    const refused = (headers: Record<string, string>, as = token): Promise<Answer> =>
      api.call('POST', '/v1/jobs/batch', {
        token: as,
        raw: job(1),
        headers: { 'Content-Type': 'application/x-ndjson', ...headers },
      });
    expectProblem(await refused({}, 'nobody'), 401, 'unauthenticated');
    expectProblem(await refused({}, await api.key('reader', ['jobs:read'])), 403, 'forbidden');
    expectProblem(await refused({ 'Content-Encoding': 'gzip' }), 415, 'unsupported_media_type');
    const utf16 = { 'Content-Type': 'application/x-ndjson; charset=utf-16' };
    expectProblem(await refused(utf16), 415, 'unsupported_media_type');
    expectProblem(await refused({ 'Idempotency-Key': 'k' }), 400, 'validation');
    expect(await payloads()).toEqual([]);
  });
});

describe('a batch that breaks off', () => {
  test('leaves every acknowledged one enqueued when the caller goes', async () => {
    const stream = openLines(api.port, token);
    for (let n = 0; n < 2000; n += 1) await stream.send(`${job(n)}\n`);
    await stream.received(500);
    stream.outgoing.destroy();
    const acknowledged = stream.outcomes.length;
    expect((await payloads()).slice(0, acknowledged)).toEqual(
      Array.from({ length: acknowledged }, (_, n) => n),
    );
  });

  test('by a drain says where to resume', async () => {
    const other = await startApi(redisUrl);
    const stream = openLines(other.port, token);
    for (let n = 0; n < 5; n += 1) await stream.send(`${job(n)}\n`);
    await stream.received(5);
    await stream.send('{"task":');
    other.process.child.kill('SIGTERM');
    const outcomes = await stream.ended;
    expect(short(outcomes.slice(5))).toEqual([[5, 'shutting_down']]);
    expect(outcomes[5]?.problem?.detail).toContain('index 5');
    expect(await other.process.exited).toBe(0);
    expect(await payloads()).toEqual([0, 1, 2, 3, 4]);
  });

  test('by the loss of Redis says where to resume', async () => {
    const redis = await startEmbeddedRedis();
    const other = await startApi(redis.url);
    try {
      const stream = openLines(other.port, await other.key('acme'));
      for (let n = 0; n < 5; n += 1) await stream.send(`${job(n)}\n`);
      await stream.received(5);
      await redis.stop();
      // The caller sends no more before it has heard of this one.
      await stream.send(`${job(5)}\n`);
      const outcomes = await stream.ended;
      expect(short(outcomes.slice(5))).toEqual([[5, 'redis_unavailable']]);
      stream.outgoing.destroy();
    } finally {
      await other.stop();
    }
  });
});

/** The most memory that the API process had in RAM so far, in MB. */
function peakMemoryMb(): number {
  const status = readFileSync(`/proc/${api.process.child.pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

test('50,000 lines go through in little memory', async () => {
  const lines = 50_000;
  const pieces = function* (): Generator<string> {
    for (let n = 0; n < lines; n += 1) yield `${job('x'.repeat(100) + n)}\n`;
  };
  const outcomes = await sendLines(api.port, token, pieces());
  expect(outcomes).toHaveLength(lines);
  expect(outcomes.every(({ id, index }, n) => id !== undefined && index === n)).toBe(true);
  expect(new Set(outcomes.map(({ id }) => id)).size).toBe(lines);
  expect(peakMemoryMb()).toBeLessThan(MOST_MB);
});

test('lines are those of the whole, whatever the cuts and the limit', () => {
  const piece = fc.constantFrom('a', 'bc', '\n', '\r\n', '\r', ' ', 'ü', '🐝', 'x'.repeat(9));
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 60 }),
      fc.array(fc.nat(12)),
      fc.integer({ min: 1, max: 12 }),
      (pieces, cuts, limit) => {
        const whole = Buffer.from(pieces.join(''));
        const splitter = new LineSplitter(limit);
        const lines: (string | null)[] = [];
        const note = (some: (Buffer | null)[]): void =>
          void lines.push(...some.map((line) => line && line.toString()));
        let from = 0;
        for (const cut of cuts) {
          note(splitter.push(whole.subarray(from, from + cut)));
          from = Math.min(from + cut, whole.length);
        }
        note(splitter.push(whole.subarray(from)));
        note(splitter.end());
        const expected = whole
          .toString()
          .split('\n')
          .map((line) => line.replace(/\r$/, ''))
          .filter((line) => Buffer.byteLength(line) > limit || /[^ \t\r]/.test(line))
          .map((line) => (Buffer.byteLength(line) > limit ? null : line));
        expect(lines).toEqual(expected);
      },
    ),
    { numRuns: 500 },
  );
});
