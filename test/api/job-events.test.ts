import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { TaskError } from '../../workers/runtime/task-error.ts';
import type { JobContext } from '../../workers/runtime/context.ts';
import { latch } from '../queues/support/latch.ts';
import { startApi } from './support/api.ts';
import type { Api } from './support/api.ts';
import { openEvents, said } from './support/events.ts';
import type { EventStream } from './support/events.ts';
import { expectProblem } from './support/problems.ts';
import { startWritingWorker } from './support/writing-worker.ts';
import type { WritingWorker } from './support/writing-worker.ts';

const NDJSON = { Accept: 'application/x-ndjson' };

let api: Api;
let other: Api;
let worker: WritingWorker;
let redisUrl: string;
let token: string;
let work: (ctx: JobContext) => unknown;

beforeAll(async () => {
  redisUrl = await freshRedisUrl();
  [api, other] = await Promise.all([startApi(redisUrl), startApi(redisUrl)]);
  worker = await startWritingWorker(redisUrl, (ctx) => work(ctx));
  token = await api.key('acme');
});
beforeEach(() => {
  work = () => 'done';
});
afterAll(async () => {
  await Promise.all([api.stop(), other.stop(), worker.stop()]);
});

async function enqueue(fields: object = {}): Promise<string> {
  const answer = await api.call('POST', '/v1/jobs', { token, body: { task: 'echo', ...fields } });
  expect(answer.status).toBe(202);
  return answer.json.id as string;
}

function follow(
  id: string,
  { on = api, query = '', headers = {} }: { on?: Api; query?: string; headers?: Record<string, string> } = {},
): Promise<EventStream> {
  return openEvents(on.port, `/v1/jobs/${id}/stream${query}`, { token, headers });
}

async function settled(id: string): Promise<void> {
  const { json } = await api.call('GET', `/v1/jobs/${id}?wait=60`, { token });
  expect(json.finishedAt).not.toBeNull();
}

async function promote(id: string): Promise<void> {
  const { topology } = worker.engine;
  await (await topology.queue(topology.shardOf('acme'), 'default').getJob(id))?.promote();
}

/** Requests the first API process has not answered yet, the one that asks included. */
async function inFlight(): Promise<number> {
  const { text } = await api.call('GET', '/metrics');
  return Number(/^waggle_http_requests_in_flight (\d+)$/m.exec(text)?.[1]);
}

/** A job that writes `one`, then waits for the latch, then writes `two`. */
function inTwoParts(): { written: Promise<void>; goOn: () => void } {
  const written = latch();
  const goOn = latch();
  work = async (ctx) => {
    await ctx.chunk('one');
    written.open();
    await goOn.opened;
    await ctx.chunk('two');
    return 'both';
  };
  return { written: written.opened, goOn: () => goOn.open() };
}

describe('GET /v1/jobs/{id}/stream', () => {
  test('tells all that happens to a job from before its start, as it happens, and ends with it', async () => {
    const id = await enqueue({ delayMs: 3_600_000 });
    const [told, live, heard] = [latch(), latch(), latch()];
    work = async (ctx) => {
      await told.opened;
      await ctx.progress({ half: true });
      await ctx.log('a line\nof two');
      await ctx.chunk('text');
      await ctx.chunk({ json: ['ü', null] });
      live.open();
      await heard.opened;
      return { fine: 1 };
    };
    const stream = await follow(id);
    expect(stream.status).toBe(200);
    expect(stream.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    expect(stream.headers['cache-control']).toBe('no-store');
    expect(said(await stream.first(1))).toEqual([['state', 'delayed']]);
    await promote(id);
    // What the handler writes comes by another way than states, and might overtake them.
    await stream.first(3);
    told.open();
    await live.opened;
    const written = [
      ['progress', { half: true }],
      ['log', 'a line\nof two'],
      ['chunk', 'text'],
      ['chunk', { json: ['ü', null] }],
    ];
    // They come while the handler still runs.
    expect(said(await stream.first(7)).slice(3)).toEqual(written);
    heard.open();
    expect(said(await stream.all())).toEqual([
      ['state', 'delayed'],
      ['state', 'waiting'],
      ['state', 'active'],
      ...written,
      ['state', 'completed'],
      ['result', { fine: 1 }],
    ]);
    expect(stream.text()).toMatch(/^retry: \d+\n\n/);
  });

  test('as NDJSON says the same', async () => {
    work = async (ctx) => {
      await ctx.chunk('text');
      return 5;
    };
    const id = await enqueue();
    await settled(id);
    const stream = await follow(id, { headers: NDJSON });
    expect(stream.headers['content-type']).toBe('application/x-ndjson; charset=utf-8');
    const lines = await stream.all();
    expect(said(lines)).toEqual([
      ['chunk', 'text'],
      ['state', 'completed'],
      ['result', 5],
    ]);
    expect(await (await follow(id)).all()).toEqual(
      lines.map((line) => (line.event === 'state' ? expect.objectContaining({ event: 'state' }) : line)),
    );
  });

  test('goes on after the last event that arrived, on any process, by header and by query', async () => {
    const { written, goOn } = inTwoParts();
    const id = await enqueue();
    await written;
    const before = await follow(id);
    const [, one] = await before.first(2);
    before.close();
    const byHeader = await follow(id, { on: other, headers: { 'Last-Event-ID': one?.id ?? '' } });
    const byQuery = await follow(id, { on: other, query: `?lastEventId=${one?.id}` });
    const afresh = await follow(id, { on: other });
    await afresh.first(2);
    goOn();
    const rest = [
      ['chunk', 'two'],
      ['state', 'completed'],
      ['result', 'both'],
    ];
    expect(said(await byHeader.all())).toEqual(rest);
    expect(said(await byQuery.all())).toEqual(rest);
    const whole = await afresh.all();
    expect(said(whole)).toEqual([['state', 'active'], ['chunk', 'one'], ...rest]);
    // A browser whose stream has ended asks again, until it is told that there is no more.
    const { status } = await follow(id, { headers: { 'Last-Event-ID': whole.at(-1)?.id ?? '' } });
    expect(status).toBe(204);
    // Without the very last event it was not told what came of the job.
    const again = await follow(id, { headers: { 'Last-Event-ID': whole.at(-2)?.id ?? '' } });
    expect(said(await again.all())).toEqual([['result', 'both']]);
  });

  test('ends with the error of a job that failed, and goes on over attempts that did not', async () => {
    const [following, again] = [latch(), latch()];
    work = async (ctx) => {
      await (ctx.attempt === 1 ? following : again).opened;
      await ctx.log(`attempt ${ctx.attempt}`);
      throw new TaskError('no_luck', 'not today', { retryable: true });
    };
    const id = await enqueue({ attempts: 2, backoff: { type: 'fixed', delayMs: 50, jitter: 0 } });
    const stream = await follow(id);
    await stream.first(1);
    following.open();
    await eventually('it runs again', () => {
      const last = said(stream.events()).slice(-3);
      return isDeepStrictEqual(last, [
        ['state', 'delayed'],
        ['state', 'waiting'],
        ['state', 'active'],
      ]);
    });
    again.open();
    const events = said(await stream.all());
    expect(events.slice(0, 1)).toEqual([['state', expect.stringMatching(/^(waiting|active)$/)]]);
    expect(events.slice(-7)).toEqual([
      ['log', 'attempt 1'],
      ['state', 'delayed'],
      ['state', 'waiting'],
      ['state', 'active'],
      ['log', 'attempt 2'],
      ['state', 'failed'],
      ['error', { code: 'no_luck', message: 'not today', retryable: true }],
    ]);
  });

  test('keeps the last thousand entries of a job that writes much, in order, and cuts long text', async () => {
    work = async (ctx) => {
      await ctx.chunk('🐝'.repeat(10_000));
      await expect(ctx.chunk(['x'.repeat(20_000)])).rejects.toThrow(RangeError);
      await expect(ctx.progress({ much: 'x'.repeat(20_000) })).rejects.toThrow(RangeError);
      await expect(ctx.chunk(undefined)).rejects.toThrow(TypeError);
    };
    const long = await enqueue();
    const pieces = (await (await follow(long)).all()).filter(({ event }) => event === 'chunk');
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.map((piece) => piece.data.chunk).join('')).toBe('🐝'.repeat(10_000));

    work = async (ctx) => {
      await Promise.all(Array.from({ length: 1200 }, (_, n) => ctx.chunk(n)));
    };
    const many = await enqueue();
    await settled(many);
    const kept = (await (await follow(many)).all()).filter(({ event }) => event === 'chunk');
    expect(kept.map((entry) => entry.data.chunk)).toEqual(Array.from({ length: 1000 }, (_, n) => n + 200));
  });

  test('a reader who takes nothing is cut off before the server keeps much for it, and can go on', async () => {
    const COUNT = 1000;
    const text = 'x'.repeat(16_000);
    work = async (ctx) => {
      for (let n = 0; n < COUNT; n += 1) await ctx.chunk([n, text]);
    };
    const id = await enqueue();
    await settled(id);
    const slow = await openEvents(api.port, `/v1/jobs/${id}/stream`, {
      token,
      headers: NDJSON,
      paused: true,
    });
    await eventually('the reader is cut off', async () => (await inFlight()) === 1);
    const got = await slow.all();
    expect(got.length).toBeLessThan(COUNT);
    expect(got.at(-1)?.event).toBe('chunk');
    const rest = await follow(id, { headers: { ...NDJSON, 'Last-Event-ID': got.at(-1)?.id ?? '' } });
    const numbers = [...got, ...(await rest.all())].filter(({ event }) => event === 'chunk');
    expect(numbers.map((entry) => entry.data.chunk[0])).toEqual(Array.from({ length: COUNT }, (_, n) => n));
  });

  test('a drain ends the stream without an end of the job, and another process goes on with it', async () => {
    const third = await startApi(redisUrl);
    const { written, goOn } = inTwoParts();
    const id = await enqueue();
    await written;
    const stream = await follow(id, { on: third });
    await stream.first(2);
    const stopped = third.stop();
    const events = await stream.all();
    expect(stream.response.complete).toBe(true);
    expect(said(events)).toEqual([
      ['state', 'active'],
      ['chunk', 'one'],
    ]);
    const rest = await follow(id, { headers: { 'Last-Event-ID': events.at(-1)?.id ?? '' } });
    goOn();
    expect(said(await rest.all())).toEqual([
      ['chunk', 'two'],
      ['state', 'completed'],
      ['result', 'both'],
    ]);
    expect(await stopped).toBe(0);
  });

  test.each([
    '__proto__',
    '%7Bwg%3A0%7D',
    '*',
    '%00',
    'x'.repeat(10_000),
    'default.01JZ3QK0M4Y8W6T2N5R7S9V1XC',
  ])('there is none of %.20s, and no log', async (id) => {
    expectProblem(await api.call('GET', `/v1/jobs/${id}/stream`, { token }), 404, 'not_found');
    expectProblem(await api.call('GET', `/v1/jobs/${id}/logs`, { token }), 404, 'not_found');
  });

  test("another tenant's job is not there, and nonsense for an event is refused", async () => {
    const id = await enqueue();
    const stranger = await api.key('stranger');
    for (const path of ['stream', 'logs'])
      expectProblem(await api.call('GET', `/v1/jobs/${id}/${path}`, { token: stranger }), 404, 'not_found');
    const ends = ['1-0~1.end.1', '1-0~1.failed.1', '1-0~1.active.1.5', '1-0~1.sleeping.1', '1-0~1.active'];
    const noIds = ['__proto__', '1-0.', '+', '9'.repeat(40), '1-0.5.5', '1-0~', '1-0~1', 'x'.repeat(64)];
    for (const last of [...noIds, ...ends]) {
      const headers = { 'Last-Event-ID': last };
      expectProblem(await api.call('GET', `/v1/jobs/${id}/stream`, { token, headers }), 400, 'validation');
    }
  });
});

describe('GET /v1/jobs/{id}/logs', () => {
  test('gives the lines with their times, in pages, and lines that come meanwhile spoil none', async () => {
    const [first, goOn] = [latch(), latch()];
    work = async (ctx) => {
      for (let n = 0; n < 1000; n += 1) void ctx.log(`line ${n}`);
      await ctx.log(`${'long'.repeat(3000)}`);
      first.open();
      await goOn.opened;
      await Promise.all(Array.from({ length: 100 }, (_, n) => ctx.log(`later ${n}`)));
    };
    const id = await enqueue();
    await first.opened;
    const page = async (query: string) =>
      (await api.call('GET', `/v1/jobs/${id}/logs${query}`, { token })).json;
    const one = await page('?limit=300');
    expect(one.lines).toHaveLength(300);
    expect(one.lines[0]).toEqual({ at: expect.stringMatching(/^20\d\d-.*Z$/), line: 'line 1' });
    goOn.open();
    await settled(id);
    // A hundred lines were dropped from the front since.
    const two = await page(`?limit=1000&cursor=${one.nextCursor}`);
    expect(two.nextCursor).toBeNull();
    const lines = two.lines.map(({ line }: { line: string }) => line);
    expect(lines.slice(0, 2)).toEqual(['line 301', 'line 302']);
    expect(lines).toHaveLength(800);
    expect(lines[699]).toBe('long'.repeat(2048));
    expect(lines.at(-1)).toBe('later 99');
    expect((await page('')).lines).toHaveLength(100);
  });

  test.each([
    'limit=0',
    'limit=1001',
    'cursor=',
    'cursor=__proto__',
    'cursor=%00',
    'lines=1',
    `cursor=${'x'.repeat(200)}`,
  ])('?%.30s is refused', async (query) => {
    const id = await enqueue();
    expectProblem(await api.call('GET', `/v1/jobs/${id}/logs?${query}`, { token }), 400, 'validation');
  });
});
