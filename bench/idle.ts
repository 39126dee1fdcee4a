/** What a worker process costs that has nothing to run: see README.md. */
import { setTimeout as pause } from 'node:timers/promises';
import { openEngine } from '../queues/engine.ts';
import { createTaskRegistry } from '../queues/tasks/registry.ts';
import { createLogger } from '../src/shared/logger.ts';
import { BenchProcess } from './child-process.ts';
import { costOf, machineHeader, number, printSection, table, withRedis } from './harness.ts';
import type { Bench, ServerCost } from './harness.ts';
import { count, flag, readOptions } from './options.ts';
import { nap } from './nap.ts';
import type { WaggleConfig, WaggleRuns } from './waggle-process.ts';
import type { WorkerConfig } from './worker-process.ts';

const options = readOptions('idle', {
  seconds: count(20, 'how long each worker is watched'),
  shards: count(4, 'shards of the Waggle worker'),
  tenants: count(1_000, 'tenants whose jobs are parked'),
  bare: flag('leave the machine out of the output'),
});

/** Before the clock starts: connections, first claims, compilation, and the collector's last look at what the start left. */
const SETTLE_MS = 20_000;

interface IdleResult {
  name: string;
  /** Processor time of the worker process. */
  cpuMs: number;
  server: ServerCost;
}

async function watch(name: string, { redis }: Bench, cpuMs: () => Promise<number>): Promise<IdleResult> {
  await pause(SETTLE_MS);
  await cpuMs();
  console.error(`idle: ${name}`);
  const [spent, server] = await costOf(redis, async () => {
    await pause(options.seconds * 1000);
    return cpuMs();
  });
  return { name, cpuMs: spent, server };
}

async function stock(bench: Bench): Promise<IdleResult> {
  const config: WorkerConfig = {
    backend: 'stock',
    port: bench.port,
    queue: 'bench',
    concurrency: 50,
    keep: false,
    sleepMs: 0,
    trace: true,
  };
  const worker = new BenchProcess('./worker-process.ts', config);
  try {
    await worker.call('prepare');
    await worker.call('release');
    return await watch('stock worker, 1 queue', bench, () => worker.call<number>('cpu'));
  } finally {
    await worker.stop();
  }
}

async function waggle(name: string, bench: Bench): Promise<IdleResult> {
  const redisUrl = `redis://127.0.0.1:${bench.port}`;
  const config: WaggleConfig = { redisUrl, shards: options.shards, queues: ['default'], concurrency: 50 };
  const worker = new BenchProcess('./waggle-process.ts', config);
  try {
    await worker.call('start');
    return await watch(name, bench, async () => (await worker.call<WaggleRuns>('take')).cpuMs);
  } finally {
    await worker.stop();
  }
}

/** Half of the tenants are paused, the others have used up their rate for a long time; all have jobs waiting. */
async function parkTenants(bench: Bench): Promise<void> {
  const engine = await openEngine({
    redisUrl: `redis://127.0.0.1:${bench.port}`,
    shards: options.shards,
    logger: createLogger({ level: 'fatal', name: 'bench' }),
    tasks: createTaskRegistry([nap]),
  });
  const jobs = Array.from({ length: 3 }, () => ({ task: 'nap', payload: { ms: 0 } }));
  for (let number = 0; number < options.tenants; number += 1) {
    const rate = { limit: 1, periodMs: 86_400_000 };
    await engine.tenants.put(`tenant-${number}`, number % 2 === 0 ? { paused: true } : { rate });
    await engine.jobs.enqueueBatch(`tenant-${number}`, jobs, { correlationId: 'bench' });
  }
  await engine.close();
}

function row({ name, cpuMs, server }: IdleResult): string[] {
  const each = (value: number, digits = 1): string => number(value / options.seconds, digits);
  return [
    name,
    each(cpuMs, 2),
    each(server.commands),
    each(server.scriptMicros / 1000, 3),
    each(server.cpuMicros / 1000, 2),
  ];
}

const header = options.bare ? null : await machineHeader();
const results = await withRedis(async (bench) => {
  const first = await stock(bench);
  const empty = await waggle(`Waggle worker, ${options.shards} shards`, bench);
  await parkTenants(bench);
  const parked = await waggle(`the same, ${number(options.tenants)} tenants parked`, bench);
  return [first, empty, parked];
});
await printSection('Idle workers', header, [
  `One worker process with nothing to run, over ${options.seconds} s; figures per second.`,
  table(['worker', 'cpu ms', 'commands', 'scripts ms', 'server cpu ms'], results.map(row)),
]);
