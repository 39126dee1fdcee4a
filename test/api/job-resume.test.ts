import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { freshRedisUrl } from '../support/redis.ts';
import { TaskError } from '../../workers/runtime/task-error.ts';
import type { JobContext } from '../../workers/runtime/context.ts';
import { latch } from '../queues/support/latch.ts';
import { startApi } from './support/api.ts';
import type { Api } from './support/api.ts';
import { openEvents, said } from './support/events.ts';
import type { EventStream, SeenEvent } from './support/events.ts';
import { startWritingWorker } from './support/writing-worker.ts';
import type { WritingWorker } from './support/writing-worker.ts';

let api: Api;
let other: Api;
let worker: WritingWorker;
let token: string;
const works = new Map<string, (ctx: JobContext) => unknown>();

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  [api, other] = await Promise.all([startApi(redisUrl), startApi(redisUrl)]);
  worker = await startWritingWorker(redisUrl, (ctx) => works.get(String(ctx.job.payload))?.(ctx));
  token = await api.key('acme');
});
afterAll(async () => {
  await Promise.all([api.stop(), other.stop(), worker.stop()]);
});

let jobs = 0;

/** A job that starts when it is promoted and then does `work`. */
async function delayedJob(work: (ctx: JobContext) => unknown, fields: object = {}): Promise<string> {
  const payload = `work ${++jobs}`;
  works.set(payload, work);
  const body = { task: 'echo', payload, delayMs: 3_600_000, ...fields };
  const answer = await api.call('POST', '/v1/jobs', { token, body });
  expect(answer.status).toBe(202);
  return answer.json.id as string;
}

async function act(id: string, what: 'promote' | 'retry'): Promise<void> {
  const { status } = await api.call('POST', `/v1/jobs/${id}/${what}`, { token });
  expect([200, 202]).toContain(status);
}

function follow(id: string, after?: string, on: Api = api): Promise<EventStream> {
  const headers: Record<string, string> = after === undefined ? {} : { 'Last-Event-ID': after };
  return openEvents(on.port, `/v1/jobs/${id}/stream`, { token, headers });
}

/** The events after one, from the other process; none when it says that there are no more. */
async function rest(id: string, after: string): Promise<SeenEvent[]> {
  const stream = await follow(id, after, other);
  expect([200, 204]).toContain(stream.status);
  return stream.all();
}

/** The first events of a reader who is disconnected after them. */
async function firstOnly(stream: EventStream, count: number): Promise<SeenEvent[]> {
  const events = await stream.first(count);
  stream.close();
  return events;
}

function stateOf(told: SeenEvent | undefined): string | undefined {
  return told?.event === 'state' ? (told.data.state as string) : undefined;
}

function isPassing(told: SeenEvent): boolean {
  return ['waiting', 'delayed', 'active', 'waiting-children'].includes(stateOf(told) ?? '');
}

/**
 * Reads on until its job was told to have started so often. What a handler writes comes by another way than states, and might
 * overtake them.
 */
async function untilStarted(stream: EventStream, times = 1): Promise<SeenEvent[]> {
  for (let count = 1; ; count += 1) {
    const events = await stream.first(count);
    if (events.filter((event) => stateOf(event) === 'active').length === times) return events;
  }
}

/** What can be told of events that nobody listened to when the job has ended: of passing states the last start alone. */
function afterwards(events: SeenEvent[]): SeenEvent[] {
  const start = events.findLast((event) => stateOf(event) === 'active');
  return events.filter((event) => event === start || !isPassing(event));
}

/** What an id begins with grows: an entry's time and number, and the events since. */
function rank(id: string): number[] {
  const [, ...numbers] = /^(\d+)-(\d+)(?:~(\d+))?/.exec(id) ?? [];
  return numbers.map((number) => Number(number ?? 0));
}

function expectGrowing(events: SeenEvent[]): void {
  const ids = events.map(({ id }) => id);
  const inOrder = [...ids].sort((a, b) => {
    const [one, two] = [rank(a), rank(b)];
    const differs = one.findIndex((number, i) => number !== two[i]);
    return differs < 0 ? 0 : (one[differs] ?? 0) - (two[differs] ?? 0);
  });
  expect(new Set(ids.map((id) => rank(id).join())).size).toBe(ids.length);
  expect(ids).toEqual(inOrder);
}

/** Follows a delayed job from before its start to its end. */
async function whole(id: string, heardOfStart: () => void): Promise<SeenEvent[]> {
  const stream = await follow(id);
  await stream.first(1);
  await act(id, 'promote');
  await untilStarted(stream);
  heardOfStart();
  return stream.all();
}

describe('a stream that is gone on with', () => {
  test.each([{ chunks: [] }, { chunks: ['one'] }, { chunks: ['one', 'two', 'three'] }])(
    'after any of its events has the rest, on another process: %j',
    async ({ chunks }) => {
      const heard = latch();
      const id = await delayedJob(async (ctx) => {
        await heard.opened;
        for (const chunk of chunks) await ctx.chunk(chunk);
        return 'done';
      });
      const events = await whole(id, () => heard.open());
      expect(said(events)).toEqual([
        ['state', 'delayed'],
        ['state', 'waiting'],
        ['state', 'active'],
        ...chunks.map((chunk) => ['chunk', chunk]),
        ['state', 'completed'],
        ['result', 'done'],
      ]);
      expectGrowing(events);
      for (const [k, { id: last }] of events.entries()) {
        const others = await rest(id, last);
        expect(said(others)).toEqual(said(afterwards(events.slice(k + 1))));
        expectGrowing([...events.slice(0, k + 1), ...others]);
      }
      const { startedAt } = (await api.call('GET', `/v1/jobs/${id}`, { token })).json;
      const [start] = await rest(id, events[0]?.id ?? '');
      expect(start?.data).toEqual({ state: 'active', at: startedAt });
    },
  );

  test('while its job runs has nothing again, and what happened in between', async () => {
    const [heard, goOn] = [latch(), latch()];
    const id = await delayedJob(async (ctx) => {
      await heard.opened;
      await ctx.chunk('one');
      await goOn.opened;
      await ctx.chunk('two');
      return 'both';
    });
    const stream = await follow(id);
    await stream.first(1);
    await act(id, 'promote');
    await untilStarted(stream);
    heard.open();
    const events = await stream.first(4);
    expect(said(events)).toEqual([
      ['state', 'delayed'],
      ['state', 'waiting'],
      ['state', 'active'],
      ['chunk', 'one'],
    ]);
    const resumed = await Promise.all(events.map((event) => follow(id, event.id, other)));
    // These have something to tell already, so they are known to listen.
    expect(said((await resumed[0]?.first(2)) ?? [])).toEqual(said(events.slice(2)));
    expect(said((await resumed[1]?.first(2)) ?? [])).toEqual(said(events.slice(2)));
    expect(said((await resumed[2]?.first(1)) ?? [])).toEqual(said(events.slice(3)));
    goOn.open();
    const all = await stream.all();
    for (const [k, others] of resumed.entries()) {
      const after = await others.all();
      expect(said(after)).toEqual(said(afterwards(all.slice(k + 1))));
      expectGrowing([...all.slice(0, k + 1), ...after]);
    }
  });

  test('tells of the last start of a job that was tried again, and of no start twice', async () => {
    const [toWrite, toFail] = [
      [latch(), latch()],
      [latch(), latch()],
    ];
    const id = await delayedJob(
      async (ctx) => {
        await toWrite[ctx.attempt - 1]?.opened;
        await ctx.log(`attempt ${ctx.attempt}`);
        await toFail[ctx.attempt - 1]?.opened;
        throw new TaskError('no_luck', 'not today', { retryable: true });
      },
      { attempts: 2, backoff: { type: 'fixed', delayMs: 1, jitter: 0 } },
    );
    const stream = await follow(id);
    await stream.first(1);
    await act(id, 'promote');
    for (const attempt of [1, 2]) {
      const { length } = await untilStarted(stream, attempt);
      toWrite[attempt - 1]?.open();
      await stream.first(length + 1);
      toFail[attempt - 1]?.open();
    }
    const events = await stream.all();
    expect(said(events.filter((event) => !isPassing(event)))).toEqual([
      ['log', 'attempt 1'],
      ['log', 'attempt 2'],
      ['state', 'failed'],
      ['error', { code: 'no_luck', message: 'not today', retryable: true }],
    ]);
    expectGrowing(events);
    for (const [k, { id: last }] of events.entries()) {
      const others = await rest(id, last);
      expect(said(others)).toEqual(said(afterwards(events.slice(k + 1))));
      expectGrowing([...events.slice(0, k + 1), ...others]);
    }
  });

  test('after an end tells what came of a retry', async () => {
    const again = latch();
    let runs = 0;
    const id = await delayedJob(async (ctx) => {
      runs += 1;
      if (runs === 1) throw new TaskError('no_luck', 'not today', { retryable: false });
      await again.opened;
      await ctx.chunk('at last');
      return 'done';
    });
    await act(id, 'promote');
    const first = await (await follow(id)).all();
    expect(said(first.slice(-2))).toEqual([
      ['state', 'failed'],
      ['error', { code: 'no_luck', message: 'not today', retryable: false }],
    ]);
    const [failed, error] = first.slice(-2).map((event) => event.id);
    expect(await rest(id, error ?? '')).toEqual([]);
    await act(id, 'retry');
    const live = await follow(id, error, other);
    await untilStarted(live);
    again.open();
    const second = [
      ['state', 'active'],
      ['chunk', 'at last'],
      ['state', 'completed'],
      ['result', 'done'],
    ];
    const heard = await live.all();
    expect(said(heard.filter((event) => stateOf(event) !== 'waiting'))).toEqual(second);
    expectGrowing([...first.slice(-2), ...heard]);
    for (const last of [failed, error]) expect(said(await rest(id, last ?? ''))).toEqual(second);
  });

  test('however often it breaks, and whatever its job does meanwhile, has everything once and in order', async () => {
    const ids = await Promise.all(
      Array.from({ length: 12 }, () =>
        delayedJob(async (ctx) => {
          for (const chunk of [1, 2, 3]) await ctx.chunk(chunk);
          return 'done';
        }),
      ),
    );
    const broken = async (id: string): Promise<SeenEvent[]> => {
      const events: SeenEvent[] = [];
      for (;;) {
        const on = events.length % 2 === 0 ? api : other;
        events.push(...(await firstOnly(await follow(id, events.at(-1)?.id, on), 1)));
        if (events.at(-1)?.event === 'result') return events;
      }
    };
    const [streams] = await Promise.all([
      Promise.all(ids.map((id) => broken(id))),
      Promise.all(ids.map((id) => act(id, 'promote'))),
    ]);
    for (const events of streams) {
      expectGrowing(events);
      const states = events.flatMap((event) => stateOf(event) ?? []);
      const inOrder = ['delayed', 'waiting', 'active', 'completed'];
      expect(states).toEqual(inOrder.filter((state) => states.includes(state)));
      expect(said(events.filter((event) => !isPassing(event)))).toEqual([
        ['chunk', 1],
        ['chunk', 2],
        ['chunk', 3],
        ['state', 'completed'],
        ['result', 'done'],
      ]);
    }
  });

  test('after an id of before ids said which state was told goes on as well', async () => {
    const [heard, goOn] = [latch(), latch()];
    const id = await delayedJob(async (ctx) => {
      await heard.opened;
      await ctx.chunk('one');
      await goOn.opened;
      return 'done';
    });
    const stream = await follow(id);
    await stream.first(1);
    await act(id, 'promote');
    await untilStarted(stream);
    heard.open();
    const [chunk] = (await stream.first(4)).slice(3);
    const entry = chunk?.id.replace(/~.*/, '') ?? '';
    const running = await Promise.all([follow(id, '0-0'), follow(id, entry)]);
    await Promise.all([running[0]?.first(2), running[1]?.first(1)]);
    goOn.open();
    const end = [
      ['state', 'completed'],
      ['result', 'done'],
    ];
    expect(said((await running[0]?.all()) ?? [])).toEqual([['state', 'active'], ['chunk', 'one'], ...end]);
    expect(said((await running[1]?.all()) ?? [])).toEqual([['state', 'active'], ...end]);
    expect(said(await rest(id, '0-0'))).toEqual([['chunk', 'one'], ...end]);
    expect(said(await rest(id, entry))).toEqual(end);
    expect(said(await rest(id, `${entry}.1`))).toEqual(end);
    const { finishedAt } = (await api.call('GET', `/v1/jobs/${id}`, { token })).json;
    for (const last of ['0-0', entry]) {
      const { status } = await follow(id, `${last}.${Date.parse(finishedAt as string)}`);
      expect(status).toBe(204);
    }
  });
});
