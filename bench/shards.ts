/** Whether a tenant's share depends on its shard, and whether slots idle meanwhile: see README.md. */
import { setTimeout as pause } from 'node:timers/promises';
import { openEngine } from '../queues/engine.ts';
import type { Engine } from '../queues/engine.ts';
import { createTaskRegistry } from '../queues/tasks/registry.ts';
import { createLogger } from '../src/shared/logger.ts';
import { BenchProcess } from './child-process.ts';
import { machineHeader, number, printSection, table, withRedis } from './harness.ts';
import type { Bench } from './harness.ts';
import { count, counts, flag, readOptions } from './options.ts';
import { nap } from './nap.ts';
import type { WaggleConfig, WaggleRuns } from './waggle-process.ts';
import { chunksOf } from './workload.ts';

const options = readOptions('shards', {
  jobs: count(6_000, 'jobs that are looked at, in the order of their starts'),
  concurrency: count(20, 'slots of all processes together'),
  nap: count(10, 'what a job takes on average, in ms; from half of it to one and a half'),
  processes: counts([1, 2], 'worker processes'),
  bare: flag('leave the machine out of the output'),
});

/** The weights of the tenants of each shard: one tenant, two, a crowd, and some of very different weights. */
const WEIGHTS = [
  [1],
  [2, 1],
  Array.from({ length: 12 }, (_, n) => (n % 4 === 0 ? 0.5 : 1)),
  [4, 1, 0.5, 1, 3],
];
const SUM = WEIGHTS.flat().reduce((sum, weight) => sum + weight, 0);
/** Left out at the start, in shares of all: processes start one after the other. */
const WARM_UP = 0.15;
const TAIL = 1.3;

type Run = WaggleRuns['runs'][number];

interface Tenant {
  id: string;
  shard: number;
  weight: number;
}

function settle(engine: Engine): Tenant[] {
  const open = WEIGHTS.map((weights) => [...weights]);
  const tenants: Tenant[] = [];
  for (let candidate = 0; open.some((weights) => weights.length > 0); candidate += 1) {
    const id = `tenant-${candidate}`;
    const shard = engine.topology.shardOf(id);
    const weight = open[shard]?.shift();
    if (weight !== undefined) tenants.push({ id, shard, weight });
  }
  return tenants;
}

/** Everybody's backlog lasts longer than what is looked at. */
async function fill(engine: Engine): Promise<Tenant[]> {
  const tenants = settle(engine);
  for (const { id, weight } of tenants) {
    await engine.tenants.put(id, { weight });
    const jobs = Array.from({ length: Math.ceil((1.6 * options.jobs * weight) / SUM) + 50 }, () => ({
      task: 'nap',
      payload: { ms: options.nap * (0.5 + Math.random()) },
    }));
    for (const chunk of chunksOf(jobs, 1000)) {
      await engine.jobs.enqueueBatch(id, chunk, { correlationId: 'bench' });
    }
  }
  return tenants;
}

async function measure(bench: Bench, processes: number): Promise<{ tenants: Tenant[]; runs: Run[] }> {
  await bench.redis.flushall('SYNC');
  const redisUrl = `redis://127.0.0.1:${bench.port}`;
  const logger = createLogger({ level: 'fatal', name: 'bench' });
  const tasks = createTaskRegistry([nap]);
  const engine = await openEngine({ redisUrl, shards: WEIGHTS.length, logger, tasks });
  const workers = Array.from({ length: processes }, () => {
    const concurrency = Math.max(1, Math.round(options.concurrency / processes));
    const config: WaggleConfig = { redisUrl, shards: WEIGHTS.length, queues: ['default'], concurrency };
    return new BenchProcess('./waggle-process.ts', config);
  });
  try {
    const tenants = await fill(engine);
    await Promise.all(workers.map((worker) => worker.call('start')));
    const runs: Run[] = [];
    while (runs.length < options.jobs * TAIL) {
      await pause(100);
      const taken = await Promise.all(workers.map((worker) => worker.call<WaggleRuns>('take')));
      runs.push(...taken.flatMap((each) => each.runs));
    }
    runs.sort((one, other) => one.startedAt - other.startedAt);
    return { tenants, runs: runs.slice(options.jobs * WARM_UP, options.jobs) };
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
    await engine.close();
  }
}

/** Time in handlers over slots x time, from the first start looked at to the last one. */
function utilisation(runs: readonly Run[], slots: number): number {
  const [from, to] = [runs[0]?.startedAt ?? 0, runs.at(-1)?.startedAt ?? 0];
  const busy = runs.reduce((sum, run) => sum + Math.min(run.endedAt, to) - run.startedAt, 0);
  return busy / ((to - from) * slots);
}

function rowsOf(processes: number, tenants: readonly Tenant[], runs: readonly Run[]): string[][] {
  const starts = new Map<string, number>();
  for (const { tenant } of runs) starts.set(tenant, (starts.get(tenant) ?? 0) + 1);
  const mean = runs.length / SUM;
  const off = (count: number, weight: number): number => (count / weight / mean - 1) * 100;
  return WEIGHTS.map((weights, shard) => {
    const living = tenants.filter((tenant) => tenant.shard === shard);
    const each = living.map(({ id, weight }) => off(starts.get(id) ?? 0, weight));
    const count = living.reduce((sum, { id }) => sum + (starts.get(id) ?? 0), 0);
    const weight = weights.reduce((sum, one) => sum + one, 0);
    const worst = each.reduce((most, one) => (Math.abs(one) > Math.abs(most) ? one : most), 0);
    return [
      `${processes} / ${shard}`,
      String(living.length),
      String(weight),
      number(count),
      signed(off(count, weight)),
      signed(worst),
    ];
  });
}

const signed = (percent: number): string => `${percent < 0 ? '' : '+'}${percent.toFixed(1)} %`;

const header = options.bare ? null : await machineHeader();
const rows: string[][] = [];
const used: string[] = [];
await withRedis(async (bench) => {
  for (const processes of options.processes) {
    console.error(`shards: ${processes} process(es)`);
    const { tenants, runs } = await measure(bench, processes);
    rows.push(...rowsOf(processes, tenants, runs));
    const slots = Math.max(1, Math.round(options.concurrency / processes)) * processes;
    used.push(`${processes}: ${(utilisation(runs, slots) * 100).toFixed(1)} %`);
  }
});
await printSection('Shares over shards', header, [
  `${number(options.jobs)} starts, the first ${WARM_UP * 100} % left out; ${options.concurrency} slots in all; jobs of ${options.nap} ms on average.`,
  table(['processes / shard', 'tenants', 'weight', 'starts', 'off its share', 'tenant most off'], rows),
  `Time of slots in handlers while everybody had work, by processes: ${used.join('; ')}.`,
]);
