/** How fast jobs come in over HTTP, and how long a request takes while others work: see README.md. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine } from '../queues/engine.ts';
import { Child, freePorts, untilReady } from '../src/demo/processes.ts';
import { createLogger } from '../src/shared/logger.ts';
import { BenchProcess } from './child-process.ts';
import {
  alternate,
  compare,
  machineHeader,
  number,
  percentile,
  printSection,
  spread,
  table,
  withRedis,
} from './harness.ts';
import type { LoadConfig, LoadResult } from './load-process.ts';
import { count, flag, readOptions } from './options.ts';
import type { AddResult, ProducerConfig } from './producer-process.ts';
import type { BackendName } from './workload.ts';

const options = readOptions('post', {
  requests: count(20_000, 'requests per run'),
  lines: count(50_000, 'lines, or jobs of addBulk, per run'),
  runs: count(5, 'runs of each'),
  connections: count(64, 'connections'),
  waiting: count(1_000_000, 'jobs that wait while single requests are timed; 0 to leave that out', 0),
  rate: count(200, 'those requests per second'),
  seconds: count(20, 'for how long'),
  bare: flag('leave the machine out of the output'),
});

const ADMIN_TOKEN = 'admin-token-of-the-benchmark';
const PLAIN = 'bench/plain-api';
const READY_MS = 60_000;
const STOP_MS = 10_000;

/** Runs `body` with a server process, and a process that sends to it. */
async function withServer<T>(
  redisUrl: string,
  entry: string,
  body: (load: BenchProcess, start: (entry: string) => Child) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'waggle-post-'));
  const [port = 0] = await freePorts(1);
  const children: Child[] = [];
  const start = (name: string): Child => {
    const child = new Child({
      name,
      entry: name,
      env: { REDIS_URL: redisUrl, PORT: String(port), WAGGLE_ADMIN_TOKEN: ADMIN_TOKEN, LOG_LEVEL: 'warn' },
      logPath: join(folder, 'log'),
      onDeath: (_child, how) => {
        throw new Error(`${name} ended: ${how}`);
      },
    });
    children.push(child);
    return child;
  };
  start(entry);
  const url = `http://127.0.0.1:${port}`;
  let load: BenchProcess | undefined;
  try {
    await untilReady(entry, `${url}/readyz`, READY_MS, AbortSignal.timeout(READY_MS));
    const headers: Record<string, string> =
      entry === PLAIN ? {} : { authorization: `Bearer ${await newKey(url)}` };
    const config: LoadConfig = { port, headers, connections: options.connections };
    load = new BenchProcess('./load-process.ts', config);
    // Compiled, connected, and its scripts loaded.
    await load.call('flatOut', 2_000);
    return await body(load, start);
  } finally {
    await load?.stop();
    await Promise.all(children.map((child) => child.stop(STOP_MS)));
    await rm(folder, { recursive: true });
  }
}

/** A key as tenants have them: what the admin does is recorded, which they do not pay for. */
async function newKey(url: string): Promise<string> {
  const answer = await fetch(`${url}/v1/tenants/acme/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
    body: '{}',
  });
  const { secret } = (await answer.json()) as { secret: string };
  return secret;
}

const perSecond = (jobs: number, { elapsedMs }: { elapsedMs: number }): number => (jobs / elapsedMs) * 1000;

/** Single requests: of Waggle's API, or of the plain one. */
const singles = (backend: BackendName): Promise<LoadResult> =>
  withRedis(({ port }) =>
    withServer(`redis://127.0.0.1:${port}`, backend === 'fair' ? 'src/main' : PLAIN, (load) =>
      load.call<LoadResult>('flatOut', options.requests),
    ),
  );

/** Lines of Waggle's API, or addBulk of stock BullMQ without any HTTP. */
const many = (backend: BackendName): Promise<AddResult | LoadResult> =>
  withRedis(async ({ port }) => {
    if (backend === 'fair')
      return withServer(`redis://127.0.0.1:${port}`, 'src/main', (load) =>
        load.call<LoadResult>('lines', options.lines),
      );
    const workload = { jobs: options.lines, tenants: 1, order: 'round-robin' as const, keys: 0 };
    const config: ProducerConfig = { backend, port, queue: 'bench', workload, chunk: 1_000, inFlight: 100 };
    const producer = new BenchProcess('./producer-process.ts', config);
    try {
      await producer.call('warmUp');
      return await producer.call<AddResult>('addBulk');
    } finally {
      await producer.stop();
    }
  });

/** Single requests at a moderate rate while many jobs wait and a worker runs as fast as it can. */
function underLoad(): Promise<LoadResult> {
  return withRedis(async ({ port }) => {
    const redisUrl = `redis://127.0.0.1:${port}`;
    await fill(redisUrl);
    return withServer(redisUrl, 'src/main', async (load, start) => {
      start('workers/main');
      return load.call<LoadResult>('atRate', { perSecond: options.rate, seconds: options.seconds });
    });
  });
}

async function fill(redisUrl: string): Promise<void> {
  console.error(`post: ${options.waiting} jobs come to wait`);
  const engine = await openEngine({
    redisUrl,
    shards: 4,
    logger: createLogger({ level: 'silent', name: 'bench' }),
  });
  for (let from = 0; from < options.waiting; from += 1_000) {
    const requests = Array.from({ length: 1_000 }, (_, n) => ({ task: 'echo', payload: n }));
    await engine.jobs.enqueueBatch(`tenant-${(from / 1_000) % 100}`, requests, { correlationId: 'bench' });
  }
  await engine.close();
}

const header = options.bare ? null : await machineHeader();
const single = await alternate(options.runs, 'single requests', singles);
const lines = await alternate(options.runs, 'lines', many);
const ofSingle = (result: LoadResult): number => perSecond(options.requests, result);
const ofMany = (result: { elapsedMs: number }): number => perSecond(options.lines, result);
const at = (percent: number) => (result: LoadResult) => percentile(result.latencies, percent);
const parts = [
  `${number(options.connections)} connections, one process each for API, load and Redis; ${options.runs} alternating runs, medians. ` +
    'The reference of single requests is an Express handler that parses, validates with zod and adds to stock BullMQ; of ' +
    'lines it is `addBulk` of 1,000 without HTTP.',
  table(
    ['', 'stock', 'waggle', 'ratio', 'ratios of pairs'],
    [
      ['POST /v1/jobs, requests/s', ...compare(single, ofSingle), spread(single, ofSingle)],
      ['its p50, ms', ...compare(single, at(50), 1), ''],
      ['its p99, ms', ...compare(single, at(99), 1), ''],
      ['NDJSON, jobs/s', ...compare(lines, ofMany), spread(lines, ofMany)],
    ],
  ),
];
if (options.waiting > 0) {
  const { latencies } = await underLoad();
  const [p50, p99, most] = [50, 99, 100].map((percent) => number(percentile(latencies, percent), 1));
  parts.push(
    `While ${number(options.waiting)} jobs of 100 tenants wait and a worker process runs as fast as it can, ${number(options.rate)} ` +
      `requests a second for ${number(options.seconds)} s: p50 ${p50} ms, p99 ${p99} ms, longest ${most} ms.`,
  );
}
await printSection('Jobs over HTTP', header, parts);
