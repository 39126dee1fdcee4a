/** Whether tenants without limits run as fast beside some that are held by theirs: see README.md. */
import { setTimeout as pause } from 'node:timers/promises';
import { openEngine } from '../queues/engine.ts';
import type { Engine } from '../queues/engine.ts';
import { createTaskRegistry } from '../queues/tasks/registry.ts';
import { createLogger } from '../src/shared/logger.ts';
import { BenchProcess } from './child-process.ts';
import { costOf, machineHeader, median, number, printSection, table, withRedis } from './harness.ts';
import type { Bench } from './harness.ts';
import { nap } from './nap.ts';
import { count, flag, readOptions } from './options.ts';
import type { WaggleConfig, WaggleRuns } from './waggle-process.ts';
import { chunksOf } from './workload.ts';

const options = readOptions('others', {
  jobs: count(50_000, 'jobs of the tenants without limits, all together'),
  tenants: count(10, 'tenants without limits'),
  waiting: count(5_000, 'jobs that wait of each tenant with a limit'),
  nap: count(2_000, 'what a job of the tenant with maxRunning takes, in ms'),
  shards: count(4, 'shards'),
  processes: count(2, 'worker processes'),
  concurrency: count(50, 'slots of each process'),
  runs: count(5, 'pairs of runs'),
  bare: flag('leave the machine out of the output'),
});

const MAX_RUNNING = 3;
const RATE = { limit: 50, periodMs: 1000, burst: 10 };
/** Left out at the start, while processes come up, and at the end, when the first of the others have nothing more. */
const [FROM, TO] = [0.15, 0.95];
const TAKE_MS = 500;

const SIDES = ['alone', 'beside'] as const;
type Side = (typeof SIDES)[number];

interface Result {
  /** Ends a second of the tenants without limits. */
  others: number;
  /** The most jobs of the tenant with maxRunning that ran at once, and its time in slots, in slots. */
  peak: number;
  held: number;
  /** Starts a second of the tenant with the rate. */
  starts: number;
  seconds: number;
  /** What the server and the workers spent, for each job of the others: commands, and processor time in microseconds. */
  commands: number;
  cpuMicros: number;
}

type Run = WaggleRuns['runs'][number];

async function fill(engine: Engine, side: Side): Promise<void> {
  const add = async (tenant: string, jobs: number, ms: number): Promise<void> => {
    const requests = Array.from({ length: jobs }, () => ({ task: 'nap', payload: { ms } }));
    for (const chunk of chunksOf(requests, 1000))
      await engine.jobs.enqueueBatch(tenant, chunk, { correlationId: 'bench' });
  };
  for (let tenant = 0; tenant < options.tenants; tenant += 1)
    await add(`other-${tenant}`, Math.ceil(options.jobs / options.tenants), 0);
  if (side === 'alone') return;
  await engine.tenants.put('narrow', { maxRunning: MAX_RUNNING });
  await engine.tenants.put('slow', { rate: RATE });
  await add('narrow', options.waiting, options.nap);
  await add('slow', options.waiting, 0);
}

async function measure(bench: Bench, side: Side): Promise<Result> {
  await bench.redis.flushall('SYNC');
  const { shards, concurrency } = options;
  const redisUrl = `redis://127.0.0.1:${bench.port}`;
  const logger = createLogger({ level: 'fatal', name: 'bench' });
  const engine = await openEngine({ redisUrl, shards, logger, tasks: createTaskRegistry([nap]) });
  const config: WaggleConfig = { redisUrl, shards, queues: ['default'], concurrency };
  const workers = Array.from(
    { length: options.processes },
    () => new BenchProcess('./waggle-process.ts', config),
  );
  try {
    await fill(engine, side);
    const [{ runs, cpuMs }, server] = await costOf(bench.redis, () => drain(workers));
    return {
      ...resultOf(runs),
      commands: server.commands / options.jobs,
      cpuMicros: (cpuMs * 1000 + server.cpuMicros) / options.jobs,
    };
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
    await engine.close();
  }
}

/** Lets them run until the others have nothing more. */
async function drain(workers: readonly BenchProcess[]): Promise<WaggleRuns> {
  await Promise.all(workers.map((worker) => worker.call('start')));
  const all: WaggleRuns = { runs: [], cpuMs: 0 };
  let left = options.jobs;
  while (left > 0) {
    await pause(TAKE_MS);
    for (const taken of await Promise.all(workers.map((worker) => worker.call<WaggleRuns>('take')))) {
      left -= taken.runs.filter(isOther).length;
      all.runs.push(...taken.runs);
      all.cpuMs += taken.cpuMs;
    }
  }
  return all;
}

const isOther = ({ tenant }: Run): boolean => tenant.startsWith('other-');

/** What happened while all others had work. */
function resultOf(runs: readonly Run[]): Omit<Result, 'commands' | 'cpuMicros'> {
  const ends = runs
    .filter(isOther)
    .map(({ endedAt }) => endedAt)
    .sort((one, other) => one - other)
    .slice(FROM * options.jobs, TO * options.jobs);
  const [from, to] = [ends[0] ?? 0, ends.at(-1) ?? 0];
  const seconds = (to - from) / 1000;
  const within = (at: number): boolean => at >= from && at <= to;
  const narrow = runs.filter(({ tenant }) => tenant === 'narrow');
  const slow = runs.filter(({ tenant, startedAt }) => tenant === 'slow' && within(startedAt));
  const inSlots = narrow.reduce(
    (sum, run) => sum + Math.max(0, Math.min(run.endedAt, to) - Math.max(run.startedAt, from)),
    0,
  );
  return {
    others: ends.length / seconds,
    peak: Math.max(0, ...narrow.map(({ startedAt }) => narrow.filter(isUnderWay(startedAt)).length)),
    held: inSlots / (to - from),
    starts: slow.length / seconds,
    seconds,
  };
}

const isUnderWay =
  (at: number) =>
  ({ startedAt, endedAt }: Run): boolean =>
    startedAt <= at && endedAt > at;

/** Alone, beside, beside, alone, ...: whatever else the machine does, and however it changes, falls on both alike. */
async function alternate(bench: Bench): Promise<Record<Side, Result[]>> {
  const results: Record<Side, Result[]> = { alone: [], beside: [] };
  for (let run = 0; run < options.runs; run += 1) {
    for (const side of run % 2 === 0 ? SIDES : SIDES.toReversed()) {
      console.error(`others: ${side}, run ${run + 1} of ${options.runs}`);
      results[side].push(await measure(bench, side));
    }
  }
  return results;
}

const header = options.bare ? null : await machineHeader();
const { alone, beside } = await withRedis(alternate);
const both = (figure: keyof Result, digits = 0): string[] => {
  const [one, other] = [alone, beside].map((results) => median(results.map((result) => result[figure])));
  return [number(one ?? 0, digits), number(other ?? 0, digits), ((other ?? 0) / (one ?? 0)).toFixed(3)];
};
const ratios = beside.map(({ others }, run) => others / (alone[run]?.others ?? NaN));
const slots = options.processes * options.concurrency;
const usual = median(alone.map(({ others }) => others));
await printSection('Others beside tenants with limits', header, [
  `${options.tenants} tenants without limits, ${number(options.jobs)} no-op jobs in all, on ${options.processes} worker processes ` +
    `with ${slots} slots and ${options.shards} shards; *beside*: a tenant with maxRunning ${MAX_RUNNING} and jobs of ` +
    `${number(options.nap)} ms, and one with a rate of ${RATE.limit} a second, ${number(options.waiting)} jobs each. ` +
    `Pairs of runs: ${options.runs}, the order changing from one to the next.`,
  table(
    [
      'pair',
      'alone jobs/s',
      'beside jobs/s',
      'ratio',
      'seconds',
      'slots held',
      'most at once',
      'starts/s of the rate',
    ],
    beside.map((result, run) => [
      String(run + 1),
      number(alone[run]?.others ?? NaN),
      number(result.others),
      (ratios[run] ?? NaN).toFixed(2),
      `${number(alone[run]?.seconds ?? NaN, 1)} and ${number(result.seconds, 1)}`,
      number(result.held, 2),
      String(result.peak),
      number(result.starts, 1),
    ]),
  ),
  table(
    ['medians', 'alone', 'beside', 'ratio'],
    [
      ['jobs/s of the others', ...both('others')],
      ['commands per job of theirs', ...both('commands', 2)],
      ['cpu us per job of theirs, server and workers', ...both('cpuMicros')],
    ],
  ),
  `Median of the ratios of pairs: ${median(ratios).toFixed(3)}. What the limits allow costs by right ${MAX_RUNNING} of ${slots} slots ` +
    `and ${RATE.limit} starts a second, ${((RATE.limit / usual) * 100).toFixed(1)} % of what is done alone. Nothing is subtracted for it.`,
]);
