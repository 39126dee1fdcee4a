import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { WaggleClient, WaggleError } from '../../src/client/index.ts';
import { startApi } from '../api/support/api.ts';
import type { Api } from '../api/support/api.ts';
import { startWritingWorker } from '../api/support/writing-worker.ts';
import type { WritingWorker } from '../api/support/writing-worker.ts';
import { eventually } from '../support/eventually.ts';
import { freshRedisUrl } from '../support/redis.ts';
import { allOf, watchedClient } from './support.ts';

let api: Api;
let worker: WritingWorker;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  api = await startApi(redisUrl);
  worker = await startWritingWorker(redisUrl, async (ctx) => {
    const { say = [], fail } = (ctx.job.payload ?? {}) as { say?: string[]; fail?: string };
    for (const word of say) {
      await ctx.chunk(word);
      await ctx.log(`said ${word}`);
    }
    if (fail !== undefined) throw new Error(fail);
    return ctx.job.payload;
  });
});
afterAll(async () => {
  await worker?.stop();
  await api?.stop();
});

test('a tenant’s own key opens what its scopes say, and an error says what is wrong', async () => {
  const admin = new WaggleClient({ baseUrl: `${api.url}/`, token: 'wrong-token-of-some-length' });
  await expect(admin.me()).rejects.toMatchObject({ code: 'unauthenticated', status: 401 });

  const { client } = watchedClient(api);
  const key = await client.keys.create('keyed', { scopes: ['jobs:write'] });
  const tenant = new WaggleClient({ baseUrl: api.url, token: key.secret });
  expect((await tenant.me()).tenant).toBe('keyed');
  await expect(tenant.jobs.page()).rejects.toMatchObject({ code: 'forbidden', status: 403 });
  const refused = await tenant.jobs.create({ task: 'echo', priority: 10 }).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(WaggleError);
  expect(refused).toMatchObject({
    code: 'validation',
    status: 400,
    problem: { errors: [{ path: 'priority', message: expect.any(String) }] },
  });
  expect((await client.keys.list('keyed')).map(({ id }) => id)).toEqual([key.id]);
  await client.keys.revoke('keyed', key.id);
  await expect(tenant.me()).rejects.toMatchObject({ code: 'unauthenticated' });
});

test('jobs are enqueued, waited for, looked up and listed page by page', async () => {
  const { client, sent } = watchedClient(api, { tenant: 'listed' });
  const { id } = await client.jobs.create({ task: 'echo', payload: { n: 1 } }, { correlationId: 'corr-7' });
  expect(await client.jobs.waitFor(id)).toMatchObject({
    state: 'completed',
    result: { n: 1 },
    correlationId: 'corr-7',
  });
  const failed = await client.jobs.create(
    { task: 'echo', payload: { fail: 'no luck' }, attempts: 1 },
    { waitSeconds: 60 },
  );
  expect(failed).toMatchObject({ state: 'failed', error: { message: 'no luck' } });

  const results = await client.jobs.batch([{ task: 'echo' }, { task: 'none' }, { task: 'echo' }]);
  expect(results).toEqual([
    { index: 0, id: expect.any(String) },
    { index: 1, problem: expect.objectContaining({ code: 'unknown_task' }) },
    { index: 2, id: expect.any(String) },
  ]);
  sent.length = 0;
  const listed = await allOf(client.jobs.list({ limit: 2 }));
  expect(listed.map((job) => job.id)).toEqual([
    ...results.flatMap((result) => ('id' in result ? result.id : [])).reverse(),
    failed.id,
    id,
  ]);
  expect(sent.length).toBeGreaterThan(1);
  for await (const job of client.jobs.list({ state: 'failed' })) expect(job.id).toBe(failed.id);
  const held = await client.jobs.create({ task: 'echo', delayMs: 3_600_000 });
  expect((await client.jobs.why(held.id)).blockedBy).toEqual([expect.objectContaining({ gate: 'delayed' })]);
});

test('a wait ends at its deadline, and at once when its caller gives up', async () => {
  const { client } = watchedClient(api, { tenant: 'waiting' });
  const { id } = await client.jobs.create({ task: 'echo', delayMs: 3_600_000 });
  await expect(client.jobs.waitFor(id, { timeoutMs: 50 })).rejects.toMatchObject({
    code: 'timeout',
    status: 0,
  });
  const caller = new AbortController();
  const reason = new Error('given up');
  const wait = client.jobs.waitFor(id, { signal: caller.signal, timeoutMs: 60_000 });
  caller.abort(reason);
  await expect(wait).rejects.toBe(reason);
});

test('a flow is waited for', async () => {
  const { client } = watchedClient(api);
  const { id, jobs } = await client.flows.create({
    tree: { task: 'echo', name: 'sum', payload: 3, children: [{ task: 'echo', name: 'part', payload: 1 }] },
  });
  const flow = await client.flows.waitFor(id, { timeoutMs: 60_000 });
  expect(flow).toMatchObject({ id, state: 'completed', result: 3 });
  expect(Object.keys(jobs).sort()).toEqual(['part', 'sum']);
});

describe('a job that is followed', () => {
  const said = ['one', 'two', 'three'];
  const shape = ({ event, data: { at: _at, ...rest } }: any): unknown[] => [
    event,
    ...Object.values(rest as object),
  ];

  test('tells everything once, also when the connection breaks after each event', async () => {
    let cuts = 0;
    const { client, sent } = watchedClient(api, { tenant: 'told' }, (_n, go) =>
      go().then((response) => (isEvents(response) && cuts++ < 4 ? cutAfterFirstLine(response) : response)),
    );
    const { id } = await client.jobs.create({ task: 'echo', payload: { say: said } });
    await client.jobs.waitFor(id);
    sent.length = 0;
    const events = await allOf(client.jobs.stream(id));
    expect(events.filter(({ event }) => event === 'chunk').map(shape)).toEqual(
      said.map((word) => ['chunk', word]),
    );
    expect(shape(events.at(-1))).toEqual(['result', { say: said }]);
    expect(new Set(events.map((event) => JSON.stringify(shape(event)))).size).toBe(events.length);
    expect(new Set(events.map((event) => event.id)).size).toBe(events.length);
    expect(sent.length).toBe(5);
    expect(sent.slice(1).every(({ headers }) => headers.get('last-event-id') !== null)).toBe(true);
    // After the end there is nothing more.
    expect(await allOf(client.jobs.stream(id, { lastEventId: events.at(-1)?.id }))).toEqual([]);
    expect((await allOf(client.jobs.logs(id, { limit: 2 }))).map(({ line }) => line)).toEqual(
      said.map((word) => `said ${word}`),
    );
  });

  test('is gone on with where it was left, with the start of the job that came meanwhile', async () => {
    const { client } = watchedClient(api);
    const { id } = await client.jobs.create({
      task: 'echo',
      payload: { say: said },
      delayMs: 3_600_000,
    });
    let lastEventId: string | undefined;
    for await (const event of client.jobs.stream(id)) {
      lastEventId = event.id;
      break;
    }
    await client.jobs.promote(id);
    await client.jobs.waitFor(id);
    const events = await allOf(client.jobs.stream(id, { lastEventId }));
    expect(events.filter(({ event }) => event !== 'log').map(shape)).toEqual([
      ['state', 'active'],
      ...said.map((word) => ['chunk', word]),
      ['state', 'completed'],
      ['result', { say: said }],
    ]);
  });

  test('is left by leaving the loop, and by the signal', async () => {
    const { client } = watchedClient(api);
    const { id } = await client.jobs.create({ task: 'echo', delayMs: 3_600_000 });
    for await (const event of client.jobs.stream(id)) {
      expect(shape(event)).toEqual(['state', 'delayed']);
      break;
    }
    const caller = new AbortController();
    const reason = new Error('given up');
    const following = async (): Promise<void> => {
      for await (const _event of client.jobs.stream(id, { signal: caller.signal })) caller.abort(reason);
    };
    await expect(following()).rejects.toBe(reason);
  });

  function isEvents(response: Response): boolean {
    return response.url.endsWith('/stream');
  }

  /** The answer, broken off in the middle of its second line. */
  async function cutAfterFirstLine(response: Response): Promise<Response> {
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    while (reader !== undefined && text.split('\n').length < 3) {
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
    }
    await reader?.cancel();
    const whole = text.indexOf('\n') + 1;
    const cut = new TextEncoder().encode(text.slice(0, whole + 10));
    return new Response(new Blob([cut]).stream(), { headers: response.headers });
  }
});

describe('jobs sent as lines', () => {
  test('are answered while they are made', async () => {
    const { client } = watchedClient(api, { tenant: 'lines' });
    let answered = 0;
    let more = (): void => undefined;
    async function* made(): AsyncGenerator<{ task: string; payload: number; delayMs: number }> {
      for (let n = 0; n < 1000; n++) {
        // Half-way the other half is not made before the first half is answered, but for what is held back.
        while (n === 500 && answered < 499) await new Promise<void>((resolve) => (more = resolve));
        yield { task: n === 7 ? 'none' : 'echo', payload: n, delayMs: 3_600_000 };
      }
    }
    const outcomes = [];
    for await (const outcome of client.jobs.batchLines(made())) {
      outcomes.push(outcome);
      answered = outcomes.length;
      more();
    }
    expect(outcomes.map(({ index }) => index)).toEqual(Array.from({ length: 1000 }, (_, n) => n));
    expect(outcomes.filter((outcome) => 'problem' in outcome)).toEqual([
      { index: 7, problem: expect.objectContaining({ code: 'unknown_task' }) },
    ]);
    expect((await client.me()).queues['default']?.delayed).toBe(999);
    expect(await allOf(client.jobs.batchLines([]))).toEqual([]);
  });

  test('end with the error of whoever makes them, and when nobody wants the outcomes', async () => {
    const { client } = watchedClient(api, { tenant: 'broken' });
    const fault = new Error('no more');
    function* failing(): Generator<{ task: string }> {
      yield { task: 'echo' };
      throw fault;
    }
    await expect(allOf(client.jobs.batchLines(failing()))).rejects.toBe(fault);

    let isReturned = false;
    function* endless(): Generator<{ task: string; delayMs: number }> {
      try {
        for (;;) yield { task: 'echo', delayMs: 3_600_000 };
      } finally {
        isReturned = true;
      }
    }
    for await (const outcome of client.jobs.batchLines(endless())) if (outcome.index === 300) break;
    await eventually('the source is left', () => isReturned);
  });

  test('say where to go on when the answer breaks off', async () => {
    const told = (lines: unknown[]): Response =>
      new Response(lines.map((line) => `${JSON.stringify(line)}\n`).join(''), { status: 202 });
    const draining = { code: 'shutting_down', status: 503, title: '', type: '', detail: 'Resume.' };
    const answers = [
      [[{ index: 0, id: 'a' }], 1, 'unreachable'],
      [
        [
          { index: 0, id: 'a' },
          { index: 1, problem: draining },
        ],
        1,
        'shutting_down',
      ],
      [[], 0, 'unreachable'],
    ] as const;
    for (const [lines, resumeAt, code] of answers) {
      const { client } = watchedClient(api, {}, async () => told([...lines]));
      const outcomes: unknown[] = [];
      const sending = async (): Promise<void> => {
        const jobs = [{ task: 'echo' }, { task: 'echo' }, { task: 'echo' }];
        for await (const outcome of client.jobs.batchLines(jobs)) outcomes.push(outcome);
      };
      await expect(sending()).rejects.toMatchObject({ name: 'BatchEndedError', resumeAt, code });
      expect(outcomes).toEqual(lines.slice(0, resumeAt));
    }
  });
});
