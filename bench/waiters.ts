/** What many callers cost who wait for jobs, or follow them, on one API process: see README.md. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { Child, freePorts, untilReady } from '../src/demo/processes.ts';
import { costOf, machineHeader, number, percentile, printSection, table, withRedis } from './harness.ts';
import { count, flag, readOptions } from './options.ts';

const options = readOptions('waiters', {
  clients: count(10_000, 'clients, each with a connection and a job of its own'),
  streams: count(1_000, 'of them that follow the stream; the others wait for the end'),
  tenants: count(20, 'tenants whose jobs they are'),
  seconds: count(10, 'how long all of them are watched while nothing happens; at most 30'),
  bare: flag('leave the machine out of the output'),
});

const ADMIN_TOKEN = 'admin-token-of-the-benchmark';
/** As long as the API holds back an answer. It must last for the opening, the quiet time and the end. */
const WAIT_SECONDS = 60;
const READY_MS = 60_000;
const PER_BATCH = 1000;
/** Connections that are opened at once, so that none is refused. */
const OPENED_AT_ONCE = 200;
/** Connections of the API besides those of the clients. */
const SPARE_FILES = 500;
const STOP_MS = 15000;

interface Client {
  /** How long after its job's end it heard of that, in ms, by the clocks of one machine; NaN when it did not hear. */
  heardAfterMs: Promise<number>;
}

interface Figures {
  what: string;
  /** MiB that the API process has in memory. */
  memory: number;
  /** Its processor time, in % of a core. */
  cpu: number;
  /** The longest delay of its event loop, and the 99th percentile, in ms. */
  lagMax: number;
  lagP99: number;
  /** Its connections to Redis. */
  connections: number;
  /** Per second. */
  commands: number;
}

const agent = new Agent({ keepAlive: true, maxSockets: Infinity });

function call(
  port: number,
  method: string,
  path: string,
  tenant: string,
  body?: object,
): Promise<IncomingMessage> {
  const headers = {
    authorization: `Bearer ${ADMIN_TOKEN}`,
    'x-tenant-id': tenant,
    accept: 'application/x-ndjson, application/json',
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  };
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', port, method, path, headers, agent }, resolve);
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** @returns tenant and id of a job for each client */
async function enqueue(port: number): Promise<{ tenant: string; id: string }[]> {
  const jobs: { tenant: string; id: string }[] = [];
  for (let batch = 0; jobs.length < options.clients; batch += 1) {
    const tenant = `tenant-${batch % options.tenants}`;
    const size = Math.min(
      PER_BATCH,
      Math.ceil(options.clients / options.tenants),
      options.clients - jobs.length,
    );
    const body = { jobs: Array.from({ length: size }, () => ({ task: 'echo', payload: 'a result' })) };
    const answer = JSON.parse(await text(await call(port, 'POST', '/v1/jobs/batch', tenant, body))) as {
      results: { id: string }[];
    };
    jobs.push(...answer.results.map(({ id }) => ({ tenant, id })));
  }
  return jobs;
}

function waitFor(port: number, { tenant, id }: { tenant: string; id: string }): Client {
  const heard = async (): Promise<number> => {
    const response = await call(port, 'GET', `/v1/jobs/${id}?wait=${WAIT_SECONDS}`, tenant);
    const job = JSON.parse(await text(response)) as { finishedAt: string | null };
    return Date.now() - Date.parse(job.finishedAt ?? '');
  };
  return { heardAfterMs: heard() };
}

function follow(port: number, { tenant, id }: { tenant: string; id: string }): Client {
  const heard = async (): Promise<number> => {
    const response = await call(port, 'GET', `/v1/jobs/${id}/stream`, tenant);
    const last = (await text(response)).trim().split('\n').at(-1) ?? '';
    const told = JSON.parse(last) as { event: string; data: { at: string } };
    return told.event === 'result' ? Date.now() - Date.parse(told.data.at) : Number.NaN;
  };
  return { heardAfterMs: heard() };
}

async function openClients(port: number, jobs: readonly { tenant: string; id: string }[]): Promise<Client[]> {
  const every = Math.floor(options.clients / options.streams);
  const clients: Client[] = [];
  for (const [place, job] of jobs.entries()) {
    const follows = place % every === 0 && place / every < options.streams;
    clients.push(follows ? follow(port, job) : waitFor(port, job));
    if (clients.length % OPENED_AT_ONCE === 0) await untilInFlight(port, clients.length);
  }
  await untilInFlight(port, clients.length);
  return clients;
}

async function untilInFlight(port: number, requests: number): Promise<void> {
  // The request that asks is one of them.
  while ((await scrape(port))('waggle_http_requests_in_flight') < requests) await pause(10);
}

type Scrape = (name: string) => number;

/** What the scrapes since it was last emptied said, in s: each begins the measurement anew. */
let lags: { max: number; p99: number }[] = [];

async function scrape(port: number): Promise<Scrape> {
  const content = await text(await call(port, 'GET', '/metrics', ''));
  const valueOf: Scrape = (name) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(content)?.[1]);
  lags.push({
    max: valueOf('nodejs_eventloop_lag_max_seconds'),
    p99: valueOf('nodejs_eventloop_lag_p99_seconds'),
  });
  return valueOf;
}

/** Watches the API process while `body` runs. What is read of it before and after is not counted. */
async function watch<T>(
  what: string,
  port: number,
  redis: Redis,
  body: () => Promise<T>,
): Promise<[T, Figures]> {
  console.error(`waiters: ${what}`);
  const before = await scrape(port);
  lags = [];
  const startedAt = performance.now();
  const [result, server] = await costOf(redis, body);
  const seconds = (performance.now() - startedAt) / 1000;
  const after = await scrape(port);
  const clients = String(await redis.client('LIST'))
    .trim()
    .split('\n');
  const cpuSeconds = after('process_cpu_seconds_total') - before('process_cpu_seconds_total');
  const figures = {
    what,
    memory: after('process_resident_memory_bytes') / 2 ** 20,
    cpu: (cpuSeconds / seconds) * 100,
    lagMax: Math.max(...lags.map(({ max }) => max)) * 1000,
    lagP99: Math.max(...lags.map(({ p99 }) => p99)) * 1000,
    // The harness has one itself.
    connections: clients.length - 1,
    commands: server.commands / seconds,
  };
  return [result, figures];
}

async function measure(redis: Redis, redisUrl: string, folder: string): Promise<string[]> {
  const [port = 0] = await freePorts(1);
  const start = (name: string, entry: string, env: Record<string, string>): Child =>
    new Child({
      name,
      entry,
      env: { REDIS_URL: redisUrl, LOG_LEVEL: 'error', ...env },
      logPath: join(folder, `${name}.log`),
      onDeath: (child, how) => {
        throw new Error(`${child.name} ended: ${how}`);
      },
    });
  const api = start('api', 'src/main', { PORT: String(port), WAGGLE_ADMIN_TOKEN: ADMIN_TOKEN });
  let worker: Child | undefined;
  try {
    await untilReady('the API', `http://127.0.0.1:${port}/readyz`, READY_MS, AbortSignal.timeout(READY_MS));
    const jobs = await enqueue(port);
    const quiet = (): Promise<void> => pause(options.seconds * 1000);
    const [, alone] = await watch('nobody waits', port, redis, quiet);
    const [clients, opening] = await watch('all come', port, redis, () => openClients(port, jobs));
    const [, waiting] = await watch('all wait', port, redis, quiet);
    const [heard, ending] = await watch('all jobs end', port, redis, async () => {
      const beganAt = performance.now();
      worker = start('worker', 'workers/main', {});
      const delays = await Promise.all(clients.map(({ heardAfterMs }) => heardAfterMs));
      return { delays, tookMs: performance.now() - beganAt };
    });
    return [
      table(
        ['', 'memory MiB', 'cpu %', 'lag max ms', 'lag p99 ms', 'connections', 'commands/s'],
        [alone, opening, waiting, ending].map(row),
      ),
      answered(heard.delays, heard.tookMs),
    ];
  } finally {
    agent.destroy();
    await worker?.stop(STOP_MS);
    await api.stop(STOP_MS);
  }
}

function row({ what, memory, cpu, lagMax, lagP99, connections, commands }: Figures): string[] {
  const rounded = [cpu, lagMax, lagP99].map((value) => number(value, 1));
  return [what, number(memory), ...rounded, number(connections), number(commands)];
}

function answered(delays: readonly number[], tookMs: number): string {
  const heard = delays.filter((delay) => !Number.isNaN(delay));
  const at = (percent: number): string => number(percentile(heard, percent));
  return (
    `${number(heard.length)} of ${number(delays.length)} clients heard of their job's end: ${at(50)} ms after it ` +
    `(p50), ${at(99)} ms (p99), ${at(100)} ms (max). From the start of a worker process to the last answer: ` +
    `${number(tookMs / 1000, 1)} s.`
  );
}

/** @throws Error when neither process may have a file for each client */
async function checkFiles(): Promise<void> {
  const limits = await readFile('/proc/self/limits', 'utf8');
  const most = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]);
  if (most < options.clients + SPARE_FILES)
    throw new Error(`a process may open ${most} files: say ulimit -n ${options.clients + SPARE_FILES}`);
}

await checkFiles();
const header = options.bare ? null : await machineHeader();
const folder = await mkdtemp(join(tmpdir(), 'waggle-waiters-'));
const parts = await withRedis(({ redis, port }) => measure(redis, `redis://127.0.0.1:${port}`, folder));
await rm(folder, { recursive: true });
await printSection('Clients that wait', header, [
  `${number(options.clients)} clients of one API process, each with a connection and a job of its own: ` +
    `${number(options.clients - options.streams)} wait (\`?wait=\`), ${number(options.streams)} follow the stream. ` +
    'Figures of the API process; commands are those of Redis, the worker and commands inside scripts included.',
  ...parts,
]);
