import { setTimeout as delay } from 'node:timers/promises';
import type { Flows } from '../../queues/flows/types.ts';
import type { Retention } from '../../queues/jobs/retention.ts';
import { WaggleError } from '../../src/shared/errors.ts';
import type { Logger } from '../../src/shared/logger.ts';
import type { Run } from './run.ts';

const MAX_TRIES = 20;
const MAX_PAUSE_MS = 5000;

/**
 * What follows from a job's end, besides its record: it is marked for removal, and the failure of a flow's node ends
 * what can no longer matter. Not waited for by the slot. A crash in between costs little: every later failure of the
 * flow cancels again, and the root's is the last.
 */
export class Consequences {
  readonly #retention: Pick<Retention, 'schedule'>;
  readonly #flows: Pick<Flows, 'cancelUnstarted'>;
  readonly #logger: Logger;
  readonly #pending = new Set<Promise<void>>();

  constructor(options: {
    retention: Pick<Retention, 'schedule'>;
    flows: Pick<Flows, 'cancelUnstarted'>;
    logger: Logger;
  }) {
    this.#retention = options.retention;
    this.#flows = options.flows;
    this.#logger = options.logger;
  }

  /** Starts what follows from the outcome of a recorded run. */
  follow(run: Run): void {
    const { envelope, outcome } = run;
    if (envelope === null || (outcome.kind !== 'complete' && outcome.kind !== 'fail')) return;
    const retainMs = envelope.retainMs[outcome.kind === 'complete' ? 'completed' : 'failed'];
    this.#start(run, 'removal of the job could not be scheduled', () => this.#scheduleRemoval(run, retainMs));
    const { tenant, flow } = envelope;
    if (outcome.kind === 'fail' && flow !== null) {
      this.#start(run, 'the rest of the flow could not be cancelled', () =>
        this.#flows.cancelUnstarted(tenant, flow.id),
      );
    }
  }

  /** Resolves when all that was started has ended. */
  async settled(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  #scheduleRemoval({ source, job }: Run, retainMs: number): Promise<void> {
    const finishedAt = job.finishedOn ?? Date.now();
    return this.#retention.schedule(source.shard, {
      queue: source.name,
      id: job.id ?? '',
      finishedAt,
      retainMs,
    });
  }

  #start(run: Run, problem: string, work: () => Promise<unknown>): void {
    const followed: Promise<void> = untilRedisIsBack(work)
      .catch((error: unknown) => this.#logger.warn({ err: error, jobId: run.job.id }, problem))
      .finally(() => this.#pending.delete(followed));
    this.#pending.add(followed);
  }
}

/** The engine's connection fails fast, and nobody else would do this work after an outage. */
async function untilRedisIsBack(work: () => Promise<unknown>): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await work();
      return;
    } catch (error) {
      if (tries >= MAX_TRIES || !(error instanceof WaggleError) || error.code !== 'redis_unavailable')
        throw error;
      await delay(Math.min(100 * 2 ** tries, MAX_PAUSE_MS), undefined, { ref: false });
    }
  }
}
