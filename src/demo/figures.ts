/** What a group of jobs experienced. Times in milliseconds. */
export interface Figures {
  /** Jobs that have started. */
  count: number;
  p50Ms: number;
  maxMs: number;
}

/** What one job's times say; `null` for what has not happened yet. Times in ms since the epoch. */
export interface JobTimes {
  createdAt: number;
  startedAt: number | null;
  finishedAt: number | null;
}

/** Figures of how long jobs waited from their creation to their start; undefined when none has started. */
export function waitFigures(jobs: Iterable<JobTimes>): Figures | undefined {
  const waits: number[] = [];
  for (const { createdAt, startedAt } of jobs)
    if (startedAt !== null) waits.push(Math.max(0, startedAt - createdAt));
  if (waits.length === 0) return undefined;
  waits.sort((a, b) => a - b);
  return { count: waits.length, p50Ms: nearestRank(waits, 0.5), maxMs: nearestRank(waits, 1) };
}

/** Milliseconds from the first creation until all have finished; undefined while one has not. */
export function allDoneMs(jobs: readonly JobTimes[]): number | undefined {
  if (jobs.length === 0 || jobs.some((job) => job.finishedAt === null)) return undefined;
  return Math.max(...jobs.map((job) => job.finishedAt ?? 0)) - Math.min(...jobs.map((job) => job.createdAt));
}

function nearestRank(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

/** `850 ms`, `1.25 s`, `12.5 s`. */
export function duration(ms: number | undefined): string {
  if (ms === undefined) return '-';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 9995 ? 2 : 1)} s`;
}

/** `5,000`. */
export function quantity(count: number): string {
  return count.toLocaleString('en-US');
}
