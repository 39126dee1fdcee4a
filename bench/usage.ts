/** What accounting for tenants costs: see README.md. */
import { openEngine } from '../queues/engine.ts';
import type { Engine } from '../queues/engine.ts';
import { createLogger } from '../src/shared/logger.ts';
import { UsageAccount } from '../workers/runtime/usage-account.ts';
import {
  costOf,
  machineHeader,
  number,
  percentile,
  printSection,
  serverFigure,
  table,
  withRedis,
} from './harness.ts';
import { count, flag, readOptions } from './options.ts';

const options = readOptions('usage', {
  jobs: count(1_000_000, 'jobs that are counted, a start and an end each'),
  tenants: count(1_000, 'tenants they belong to'),
  minutes: count(61, 'minutes that are there when it is read'),
  reads: count(200, 'reads'),
  shards: count(4, 'shards'),
  bare: flag('leave the machine out of the output'),
});

const logger = createLogger({ level: 'silent', name: 'bench' });
const tenants = Array.from({ length: options.tenants }, (_, n) => `tenant-${n}`);

async function cpuMicrosOf(work: () => Promise<void> | void): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** A second of a busy worker: jobs of all tenants by turns, which waited from nothing to ten minutes. */
function countJobs(account: UsageAccount, engine: Engine, jobs: number): void {
  for (let n = 0; n < jobs; n += 1) {
    const tenant = tenants[n % tenants.length] ?? '';
    const shard = engine.topology.shardOf(tenant);
    account.started(shard, tenant, 1, 600_000 * ((n * 0.6180339887) % 1) ** 8);
    account.finished(shard, tenant, 'completed');
  }
}

/** Copies the minute that was booked into those before it. */
async function fillMinutes(engine: Engine): Promise<void> {
  const { redis, keys } = engine.topology;
  const move = (field: string, ago: number): string =>
    field.replace(/^\d+/, (minute) => String(Number(minute) - ago));
  const all = tenants.map((tenant) => keys.tenantUsage(engine.topology.shardOf(tenant), tenant));
  for (let shard = 0; shard < options.shards; shard += 1) all.push(keys.usage(shard));
  for (const key of all) {
    const fields = Object.entries(await redis.hgetall(key));
    for (let ago = 1; ago < options.minutes; ago += 1)
      await redis.hset(key, ...fields.flatMap(([field, value]) => [move(field, ago), value]));
  }
}

const header = options.bare ? null : await machineHeader();
const rows = await withRedis(async ({ port, redis }) => {
  const redisUrl = `redis://127.0.0.1:${port}`;
  const engine = await openEngine({ redisUrl, shards: options.shards, logger });
  const shards = Array.from({ length: options.shards }, (_, shard) => shard);
  const account = new UsageAccount({ shards, book: engine.usageBook, logger });
  try {
    countJobs(account, engine, 100_000);
    await account.flush();
    const hashing = await cpuMicrosOf(() => {
      for (let n = 0; n < options.jobs; n += 1) engine.topology.shardOf(tenants[n % tenants.length] ?? '');
    });
    const counting = (await cpuMicrosOf(() => countJobs(account, engine, options.jobs))) - hashing;
    await account.flush();

    // As a second of light tenants looks: five jobs each.
    countJobs(account, engine, 5 * tenants.length);
    const [flushing, server] = await costOf(redis, () => cpuMicrosOf(() => account.flush()));
    const before = await serverFigure(redis, 'memory', 'used_memory');
    await fillMinutes(engine);
    const bytes = (await serverFigure(redis, 'memory', 'used_memory')) - before;

    await engine.usage.of('tenant-0');
    const times: number[] = [];
    const [reading, readCost] = await costOf(redis, () =>
      cpuMicrosOf(async () => {
        for (let n = 0; n < options.reads; n += 1) {
          const startedAt = performance.now();
          await engine.usage.of(tenants[n % tenants.length] ?? '');
          times.push(performance.now() - startedAt);
        }
      }),
    );
    const perRead = (value: number, digits = 0): string => number(value / options.reads, digits);
    return [
      ['job (start and end): client cpu us', number(counting / options.jobs, 2)],
      ['flush, 5 jobs of each tenant: client cpu us per tenant', number(flushing / tenants.length, 1)],
      ['flush: server script us per tenant', number(server.scriptMicros / tenants.length, 1)],
      ['flush: commands per tenant', number(server.commands / tenants.length, 1)],
      ['memory: bytes per tenant and minute', number(bytes / tenants.length / (options.minutes - 1))],
      ['read: ms, p50', number(percentile(times, 50), 2)],
      ['read: ms, p99', number(percentile(times, 99), 2)],
      ['read: client cpu us', perRead(reading)],
      ['read: server cpu us', perRead(readCost.cpuMicros)],
      ['read: commands, those of scripts included', perRead(readCost.commands, 1)],
    ];
  } finally {
    await engine.close();
  }
});
const title = `Usage: ${options.tenants} tenants, ${options.shards} shards, ${options.minutes} minutes`;
await printSection(title, header, [table(['figure', 'value'], rows)]);
