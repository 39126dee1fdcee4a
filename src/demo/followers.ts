import type { CallOptions, WaggleClient } from '../client/index.ts';
import type { Job } from '../shared/schemas.ts';
import type { JobTimes } from './figures.ts';

const PAGE = 200;
const FINISHED = new Set(['completed', 'failed', 'cancelled', 'expired']);

/** Where the jobs of one tenant stand. */
export interface Standing {
  waiting: number;
  running: number;
  done: number;
  /** Those among `done` that did not complete; counted only where every job is looked at. */
  failed: number;
  /** Times of the jobs that were looked at one by one: all, or the sample. */
  times: JobTimes[];
  /** Whether the counts come from single jobs instead of from all of them. */
  sampled: boolean;
}

/** Looks at a tenant's jobs through the public API. */
export interface Follower {
  look(): Promise<Standing>;
}

/** Looks at every job each time, by listing the tenant's jobs: right for a few of them. */
export class ListFollower implements Follower {
  readonly #client: WaggleClient;
  readonly #ids: ReadonlySet<string>;
  readonly #options: CallOptions;
  #last: Standing | undefined;

  constructor(client: WaggleClient, ids: readonly string[], options: CallOptions) {
    this.#client = client;
    this.#ids = new Set(ids);
    this.#options = options;
  }

  async look(): Promise<Standing> {
    if (this.#last?.done === this.#ids.size) return this.#last;
    this.#last = standingOf(await listJobs(this.#client, this.#ids, this.#options), this.#ids.size);
    return this.#last;
  }
}

/**
 * Looks at a few jobs out of many. Jobs of one tenant and one priority start in the order in which they came, so two
 * searches, for the first that has not started and the first that has not finished, tell the counts (to within the
 * few that finish out of order); every `step`th job is looked at until it has finished, and tells the times.
 */
export class SampleFollower implements Follower {
  readonly #client: WaggleClient;
  readonly #ids: readonly string[];
  readonly #step: number;
  readonly #options: CallOptions;
  readonly #sample = new Map<number, JobTimes>();
  #started = 0;
  #finished = 0;

  constructor(client: WaggleClient, ids: readonly string[], step: number, options: CallOptions) {
    this.#client = client;
    this.#ids = ids;
    this.#step = step;
    this.#options = options;
  }

  async look(): Promise<Standing> {
    // The look-ups take a while, in which jobs go on; their times say how it was at one moment.
    const now = Date.now();
    const by = (at: number | null): boolean => at !== null && at <= now;
    this.#started = await this.#boundary(this.#started, (job) => by(job.startedAt));
    this.#finished = await this.#boundary(this.#finished, (job) => by(job.finishedAt));
    await this.#readSample();
    return {
      waiting: this.#ids.length - this.#started,
      running: Math.max(0, this.#started - this.#finished),
      done: this.#finished,
      failed: 0,
      times: [...this.#sample.values()],
      sampled: true,
    };
  }

  /** The index of the first job from `low` on that has not `passed`: steps that double, then a binary search. */
  async #boundary(low: number, passed: (job: JobTimes) => boolean): Promise<number> {
    let from = low;
    let to = this.#ids.length;
    for (let stride = 32; from + stride < to; stride *= 2) {
      if (passed(await this.#job(from + stride))) from += stride + 1;
      else to = from + stride;
    }
    while (from < to) {
      const middle = (from + to) >> 1;
      if (passed(await this.#job(middle))) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  async #readSample(): Promise<void> {
    const due: number[] = [];
    for (let index = this.#step >> 1; index < this.#started; index += this.#step) {
      if (this.#sample.get(index)?.finishedAt == null) due.push(index);
    }
    await Promise.all(due.map(async (index) => this.#sample.set(index, await this.#job(index))));
  }

  async #job(index: number): Promise<JobTimes> {
    return timesOf(await this.#client.jobs.get(this.#ids[index] ?? '', this.#options));
  }
}

/** Looks at every one of a tenant's jobs once: some dozen requests for some thousand jobs. */
export async function countAll(
  client: WaggleClient,
  ids: readonly string[],
  options: CallOptions,
): Promise<Standing> {
  return standingOf(await listJobs(client, new Set(ids), options), ids.length);
}

async function listJobs(
  { jobs }: WaggleClient,
  ids: ReadonlySet<string>,
  options: CallOptions,
): Promise<Job[]> {
  const found: Job[] = [];
  for await (const job of jobs.list({ limit: PAGE }, options)) if (ids.has(job.id)) found.push(job);
  return found;
}

function standingOf(jobs: readonly Job[], expected: number): Standing {
  if (jobs.length !== expected)
    throw new Error(`The API lists ${jobs.length} of ${expected} jobs it accepted.`);
  const done = jobs.filter((job) => FINISHED.has(job.state));
  const running = jobs.filter((job) => job.state === 'active').length;
  return {
    waiting: jobs.length - running - done.length,
    running,
    done: done.length,
    failed: done.filter((job) => job.state !== 'completed').length,
    times: jobs.map(timesOf),
    sampled: false,
  };
}

function timesOf({ createdAt, startedAt, finishedAt }: Job): JobTimes {
  return {
    createdAt: Date.parse(createdAt),
    startedAt: startedAt === null ? null : Date.parse(startedAt),
    finishedAt: finishedAt === null ? null : Date.parse(finishedAt),
  };
}
