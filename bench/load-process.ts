/** Forked by `post.ts`: sends requests, so that what they cost is not counted with the process that answers. */
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { readConfig, serve } from './child-process.ts';

export interface LoadConfig {
  port: number;
  headers: Record<string, string>;
  connections: number;
}

/** Answers in `elapsedMs`; how long each took, in ms. */
export interface LoadResult {
  elapsedMs: number;
  latencies: number[];
}

const { port, headers, connections } = readConfig<LoadConfig>();
const pool = new Pool(`http://127.0.0.1:${port}`, { connections, pipelining: 1 });
const body = JSON.stringify({ task: 'echo', payload: { filler: 'x'.repeat(86) } });

async function post(latencies: number[]): Promise<void> {
  const startedAt = performance.now();
  const answer = await pool.request({
    method: 'POST',
    path: '/v1/jobs',
    headers: { ...headers, 'content-type': 'application/json' },
    body,
  });
  const content = await answer.body.text();
  if (answer.statusCode !== 202) throw new Error(`${answer.statusCode}: ${content}`);
  latencies.push(performance.now() - startedAt);
}

/** As fast as they are answered, one after the other on each connection. */
async function flatOut(count: number): Promise<LoadResult> {
  const [latencies, startedAt] = [[] as number[], performance.now()];
  let left = count;
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (left-- > 0) await post(latencies);
    }),
  );
  return { elapsedMs: performance.now() - startedAt, latencies };
}

/** So many a second, whether or not the ones before are answered. */
async function atRate({ perSecond, seconds }: { perSecond: number; seconds: number }): Promise<LoadResult> {
  const [latencies, startedAt, sent] = [[] as number[], performance.now(), [] as Promise<void>[]];
  while (performance.now() - startedAt < seconds * 1000) {
    const due = ((performance.now() - startedAt) / 1000) * perSecond;
    while (sent.length < due) sent.push(post(latencies));
    await sleep(1);
  }
  await Promise.all(sent);
  return { elapsedMs: performance.now() - startedAt, latencies };
}

function* repeated(part: Buffer, times: number): Generator<Buffer> {
  for (let n = 0; n < times; n += 1) yield part;
}

/** A job a line, in one request. */
async function lines(count: number): Promise<LoadResult> {
  const line = Buffer.from(`${body}\n`.repeat(100));
  const startedAt = performance.now();
  const answer = await pool.request({
    method: 'POST',
    path: '/v1/jobs/batch',
    headers: { ...headers, 'content-type': 'application/x-ndjson' },
    body: Readable.from(repeated(line, count / 100)),
  });
  let outcomes = 0;
  for await (const chunk of answer.body as AsyncIterable<Buffer>)
    for (const byte of chunk) outcomes += byte === 10 ? 1 : 0;
  if (outcomes !== count) throw new Error(`${outcomes} outcomes of ${count} lines`);
  return { elapsedMs: performance.now() - startedAt, latencies: [] };
}

serve({
  flatOut: (count) => flatOut(count as number),
  atRate: (load) => atRate(load as Parameters<typeof atRate>[0]),
  lines: (count) => lines(count as number),
});
