import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import type { Job } from 'bullmq';
import { unlessAborted } from './ending.ts';
import type { JobTimes } from './figures.ts';

const QUEUE = 'fcfs';
const PREFIX = 'demo';
const BATCH = 1000;
const PROGRESS_MS = 200;
const CLOSE_MS = 3000;

export interface Arrival {
  tenant: string;
  jobs: number;
  /** Milliseconds after the start. */
  afterMs: number;
}

export interface FcfsOptions {
  redisPort: number;
  /** Consumers, and how many jobs each runs at a time: the same as the workers that are compared with. */
  workers: number;
  slotsPerWorker: number;
  sleepMs: number;
  arrivals: readonly Arrival[];
  /** When, in ms since the epoch, to end the measurement with what there is. */
  endAt: number;
  onProgress: (done: number, total: number) => void;
  signal: AbortSignal;
}

export interface FcfsOutcome {
  /** Each tenant's jobs, in order of arrival. */
  times: Map<string, JobTimes[]>;
  /** Set when the time was up: jobs that had not started or finished by then carry this moment instead. */
  cutAt: number | undefined;
}

/**
 * Measures first come, first served: the same jobs at the same times through one stock BullMQ queue.
 *
 * @throws Error when Redis fails; the reason of the signal
 */
export async function runFirstComeFirstServed(options: FcfsOptions): Promise<FcfsOutcome> {
  const { redisPort, workers, slotsPerWorker, sleepMs, signal } = options;
  const connection = { host: '127.0.0.1', port: redisPort };
  const queue = new Queue(QUEUE, { connection, prefix: PREFIX });
  const run = async (): Promise<void> => sleep(sleepMs);
  const consumers = Array.from(
    { length: workers },
    () => new Worker(QUEUE, run, { connection, prefix: PREFIX, concurrency: slotsPerWorker }),
  );
  const broken = new AbortController();
  queue.on('error', (error) => broken.abort(error));
  for (const consumer of consumers) consumer.on('error', (error) => broken.abort(error));
  const stop = AbortSignal.any([signal, broken.signal]);
  try {
    return await unlessAborted(measure(queue, consumers, options, stop), stop);
  } finally {
    // Without a Redis, closing may wait for one.
    await Promise.race([close(queue, consumers, stop.aborted), sleep(CLOSE_MS)]);
  }
}

async function measure(
  queue: Queue,
  consumers: readonly Worker[],
  { arrivals, endAt, onProgress }: FcfsOptions,
  stop: AbortSignal,
): Promise<FcfsOutcome> {
  await Promise.all(consumers.map((consumer) => consumer.waitUntilReady()));
  const total = arrivals.reduce((sum, { jobs }) => sum + jobs, 0);
  const finished = new Map<string, Job>();
  const allDone = new AbortController();
  for (const consumer of consumers) {
    consumer.on('completed', (job) => {
      finished.set(job.id ?? '', job);
      if (finished.size === total) allDone.abort();
    });
  }
  const report = (): void => onProgress(finished.size, total);
  const reports = setInterval(report, PROGRESS_MS);
  const beganAt = Date.now();
  const added = Promise.all(arrivals.map((arrival) => arrive(queue, arrival, beganAt, stop)));
  const timeIsUp = AbortSignal.timeout(Math.max(0, endAt - Date.now()));
  const ended = aborted(AbortSignal.any([allDone.signal, timeIsUp, stop]));
  const [jobs] = await Promise.all([added, ended]).finally(() => clearInterval(reports));
  report();

  const cutAt = finished.size === total ? undefined : Date.now();
  const times = arrivals.map(({ tenant }, index): [string, JobTimes[]] => [
    tenant,
    (jobs[index] ?? []).map((job) => timesOf(job, finished.get(job.id ?? ''), cutAt)),
  ]);
  return { times: new Map(times), cutAt };
}

async function arrive(queue: Queue, arrival: Arrival, beganAt: number, stop: AbortSignal): Promise<Job[]> {
  await sleep(Math.max(0, beganAt + arrival.afterMs - Date.now()), undefined, { signal: stop });
  const jobs: Job[] = [];
  while (jobs.length < arrival.jobs) {
    stop.throwIfAborted();
    const length = Math.min(BATCH, arrival.jobs - jobs.length);
    const opts = { removeOnComplete: true };
    jobs.push(
      ...(await queue.addBulk(Array.from({ length }, () => ({ name: arrival.tenant, data: {}, opts })))),
    );
  }
  return jobs;
}

function timesOf(added: Job, ended: Job | undefined, cutAt: number | undefined): JobTimes {
  return {
    createdAt: added.timestamp,
    startedAt: ended?.processedOn ?? cutAt ?? null,
    finishedAt: ended?.finishedOn ?? cutAt ?? null,
  };
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}

async function close(queue: Queue, consumers: readonly Worker[], hurry: boolean): Promise<void> {
  await Promise.all(consumers.map((consumer) => consumer.close(hurry)));
  if (!hurry) await queue.obliterate({ force: true });
  await queue.close();
}
