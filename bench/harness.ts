import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, loadavg, release, totalmem, type } from 'node:os';
import type { Redis } from 'ioredis';
import { startEmbeddedRedis } from '../src/demo/embedded-redis.ts';
import { connectTo } from './workload.ts';
import type { BackendName } from './workload.ts';

/** What each backend measured, in the order of the runs: the n-th of both were measured one right after the other. */
export type Pairs<T> = Record<BackendName, T[]>;

/** Measures stock, fair, stock, fair, ... so that whatever else the machine does falls on both alike. */
export async function alternate<T>(
  runs: number,
  label: string,
  measure: (backend: BackendName) => Promise<T>,
): Promise<Pairs<T>> {
  const pairs: Pairs<T> = { stock: [], fair: [] };
  for (let run = 1; run <= runs; run++) {
    for (const backend of ['stock', 'fair'] as const) {
      console.error(`${label}: ${backend}, run ${run} of ${runs}`);
      pairs[backend].push(await measure(backend));
    }
  }
  return pairs;
}

export interface Bench {
  readonly port: number;
  /** The server's process. */
  readonly pid: number;
  /** A connection of the harness's own, for INFO, CONFIG RESETSTAT and FLUSHALL. */
  readonly redis: Redis;
}

/**
 * Runs `body` against a Redis server of its own (random port, no persistence, noeviction) and ends the server.
 * @param env added to the server's environment
 */
export async function withRedis<T>(
  body: (bench: Bench) => Promise<T>,
  env: NodeJS.ProcessEnv = {},
): Promise<T> {
  const server = await startEmbeddedRedis({ env });
  const redis = connectTo(server.port);
  try {
    return await body({ port: server.port, pid: server.pid, redis });
  } finally {
    redis.disconnect();
    await server.stop();
  }
}

/** What the server spent, as INFO counts it. */
export interface ServerCost {
  /** Time in scripts, the commands they call included, in microseconds. */
  scriptMicros: number;
  /** Commands of clients and of scripts; does not depend on how busy the machine is. */
  commands: number;
  /** Processor time of the main thread, system time included, in microseconds; with sockets and parsing. */
  cpuMicros: number;
}

/** The server's cost of `body`, beside what `body` returns. */
export async function costOf<T>(redis: Redis, body: () => Promise<T>): Promise<[T, ServerCost]> {
  await redis.config('RESETSTAT');
  const cpuBefore = await serverCpuMicros(redis);
  const result = await body();
  const cpuMicros = (await serverCpuMicros(redis)) - cpuBefore;
  const stats = [...(await redis.info('commandstats')).matchAll(/^cmdstat_(\S+?):calls=(\d+),usec=(\d+)/gm)];
  const scripts = stats.filter(([, command]) => ['evalsha', 'eval', 'fcall'].includes(command ?? ''));
  const sum = (counts: (string | undefined)[]): number =>
    counts.reduce((total, text) => total + Number(text), 0);
  const cost = {
    scriptMicros: sum(scripts.map(([, , , usec]) => usec)),
    commands: sum(stats.map(([, , calls]) => calls)),
    cpuMicros,
  };
  return [result, cost];
}

async function serverCpuMicros(redis: Redis): Promise<number> {
  const sections = await redis.info('cpu');
  const matches = sections.matchAll(/^used_cpu_(?:user|sys)_main_thread:([\d.]+)/gm);
  return [...matches].reduce((sum, match) => sum + Number(match[1]) * 1e6, 0);
}

/** One field of `INFO <section>` as a number. @throws Error when the server has no such field */
export async function serverFigure(redis: Redis, section: string, field: string): Promise<number> {
  const match = new RegExp(`^${field}:(\\d+)`, 'm').exec(await redis.info(section));
  if (!match) throw new Error(`INFO ${section} has no ${field}`);
  return Number(match[1]);
}

/** @throws RangeError for an empty list */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = ((sorted.length - 1) * percent) / 100;
  const below = sorted[Math.floor(position)];
  const above = sorted[Math.ceil(position)];
  if (below === undefined || above === undefined) throw new RangeError('no values to take a percentile of');
  return below + (above - below) * (position - Math.floor(position));
}

export const median = (values: readonly number[]): number => percentile(values, 50);

/** A figure of every run as three cells: median of stock, median of fair, and their ratio. */
export function compare<T>(pairs: Pairs<T>, figure: (result: T) => number, digits = 0): string[] {
  const stock = median(pairs.stock.map(figure));
  const fair = median(pairs.fair.map(figure));
  return [number(stock, digits), number(fair, digits), (fair / stock).toFixed(2)];
}

/** The lowest and the highest fair / stock ratio among the neighbouring runs: how far the median can be trusted. */
export function spread<T>(pairs: Pairs<T>, figure: (result: T) => number): string {
  const ratios = pairs.fair.map((fair, run) => {
    const stock = pairs.stock[run];
    if (stock === undefined) throw new Error(`run ${run} has no partner`);
    return figure(fair) / figure(stock);
  });
  return `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`;
}

/** A number with thousands separators: 23,900 or 41.3. */
export const number = (value: number, digits = 0): string =>
  value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** A Markdown table with aligned columns; the first column reads left, the others right. */
export function table(head: string[], rows: string[][]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(3, ...all.map((row) => row[column]?.length ?? 0)));
  const line = (row: string[]): string => {
    const cells = widths.map((width, column) => pad(row[column] ?? '', width, column));
    return `| ${cells.join(' | ')} |`;
  };
  const rule = widths.map((width, column) =>
    column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  );
  return [line(head), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n');
}

const pad = (text: string, width: number, column: number): string =>
  column === 0 ? text.padEnd(width) : text.padStart(width);

/** When, on what and with which versions: the lines that make figures comparable later. */
export async function machineHeader(): Promise<string> {
  const version = await withRedis(
    async ({ redis }) => /redis_version:(\S+)/.exec(await redis.info('server'))?.[1],
  );
  const [processor] = cpus();
  const load = loadavg().map((average) => average.toFixed(2));
  return [
    `- ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`,
    `- ${cpus().length} x ${processor?.model.trim() ?? 'unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${type()} ${release()}`,
    `- Node ${process.versions.node}, Redis ${version ?? 'unknown'}, BullMQ ${bullmqVersion()}`,
    `- load average before the start: ${load.join(' ')}`,
  ].join('\n');
}

function bullmqVersion(): string {
  const file = createRequire(import.meta.url).resolve('bullmq/package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** Prints a finished section. `bare` leaves the machine out, for `run.ts`, which says it once for all sections. */
export async function printSection(title: string, header: string | null, parts: string[]): Promise<void> {
  console.log([`## ${title}`, ...(header === null ? [] : [header]), ...parts].join('\n\n'));
}
