import type { JobEnvelope } from '../../queues/jobs/envelope.ts';
import { NOT_IN_TIME } from '../../queues/jobs/endings.ts';
import { decodeFailure } from '../../queues/jobs/failure.ts';
import type { Failure } from '../../queues/jobs/failure.ts';
import type { StreamWriter } from '../../queues/streams/writer.ts';
import type { Logger } from '../../src/shared/logger.ts';
import type { Tracing } from '../../src/shared/tracing.ts';
import type { HandlerRegistry } from '../handlers/registry.ts';
import { AttemptAborted } from './abort.ts';
import { runAttempt } from './attempt.ts';
import type { Cancel } from './cancel-listener.ts';
import type { Consequences } from './consequences.ts';
import { createContext } from './create-context.ts';
import type { JobContext } from './context.ts';
import { parseEnvelope } from './envelope.ts';
import type { LockKeeper } from './lock-keeper.ts';
import { classify } from './outcome.ts';
import type { AttemptCount, Outcome } from './outcome.ts';
import { parentResults } from './parents.ts';
import type { Recorder } from './recorder.ts';
import { newRun } from './run.ts';
import type { Run } from './run.ts';
import { endRunSpan, startRunSpan } from './run-tracer.ts';
import type { RunObserver } from './run-observer.ts';
import type { Claimed, Job, ShardSource } from './source.ts';

export interface ExecutorOptions {
  handlers: HandlerRegistry;
  locks: LockKeeper;
  recorder: Recorder;
  consequences: Consequences;
  observer: RunObserver;
  writer: StreamWriter;
  /** Null = nothing is traced. */
  tracing: Tracing | null;
  logger: Logger;
  /** How long an aborted handler may take to stop before its job goes on without it, in ms. */
  graceMs: number;
  /** A result may take so many bytes as JSON. */
  resultBytes: number;
}

/** The slot in which a job runs. */
export interface Slot {
  /** Whether its next job may be claimed together with the record. Asked right before each try to record. */
  mayFetch: () => boolean;
  /** The outcome is in Redis, or the job is not ours any more: what its run takes is known. The slot may be kept longer. */
  recorded: () => void;
}

/** News of a cancel may overtake that of the job's claim by no more than this. */
const EARLY_MS = 2000;

/** Runs claimed jobs. One job is a chain of named steps over its run; outcomes are values and nothing is thrown. */
export class Executor {
  readonly #options: ExecutorOptions;
  readonly #runs = new Set<Run>();
  /** Why jobs are to stop that were not found here a moment ago. */
  readonly #early = new Map<string, string>();
  #shuttingDown = false;

  constructor(options: ExecutorOptions) {
    this.#options = options;
  }

  /** Jobs in this process now, those included whose handler has not stopped yet. */
  get running(): number {
    return this.#runs.size;
  }

  /**
   * Runs one job to its record. Resolves when its slot is free: a handler that ignores its abort keeps the slot until it
   * really ends, because the alternative is more handlers at work than the budget allows.
   * @returns what was claimed with the record, or null
   */
  async execute(source: ShardSource, job: Job, token: string, slot: Slot): Promise<Claimed | null> {
    const run = this.#begin(source, job, token);
    let next: Claimed | null = null;
    try {
      run.outcome = this.#parse(run) ?? this.#check(run) ?? (await this.#attempt(run));
      next = await this.#record(run, slot.mayFetch);
      slot.recorded();
      this.#report(run);
      this.#follow(run);
      run.markRecorded();
      await this.#outlast(run);
    } catch (error) {
      // A defect of ours, not of the handler: the lock is let go, and the stalled check brings the job back.
      this.#options.logger.error({ err: error, jobId: job.id }, 'a job could not be run');
    } finally {
      run.release();
      run.markRecorded();
      this.#runs.delete(run);
    }
    return next;
  }

  /** Aborts every running handler; their jobs are handed back unless they finish all the same. */
  shutDown(): void {
    this.#shuttingDown = true;
    for (const run of this.#runs) this.#abort(run, 'shutdown');
  }

  /** Aborts the handler of a job, if it runs here or comes within the next moments: its claim may be on its way. */
  cancel({ shard, queue, jobId, reason }: Cancel): void {
    for (const run of this.#runs)
      if (nameOf(run) === `${shard} ${queue} ${jobId}`) return cancelRun(run, reason);
    const name = `${shard} ${queue} ${jobId}`;
    this.#early.set(name, reason);
    setTimeout(() => this.#early.delete(name), EARLY_MS).unref();
  }

  /** Resolves when the outcomes of all jobs that run now are recorded; their handlers may be at work all the same. */
  async recorded(): Promise<void> {
    while (this.#runs.size > 0) {
      const open = [...this.#runs];
      await Promise.all(open.map((run) => run.recorded));
      if ([...this.#runs].every((run) => open.includes(run))) return;
    }
  }

  /** Gives up recording: Redis is gone, and the process must not stay for it. */
  abandonRecords(): void {
    for (const run of this.#runs) run.unrecordable.abort();
  }

  #begin(source: ShardSource, job: Job, token: string): Run {
    const run = newRun(source, job, token);
    this.#runs.add(run);
    run.release = this.#options.locks.hold(source, job.id ?? '', token, () => {
      this.#abort(run, 'lock_lost');
      run.unrecordable.abort();
    });
    // A claim that was under way when the shutdown came brings a job that goes straight back.
    if (this.#shuttingDown) this.#abort(run, 'shutdown');
    const reason = this.#early.size > 0 ? this.#early.get(nameOf(run)) : undefined;
    if (reason !== undefined) cancelRun(run, reason);
    return run;
  }

  #parse(run: Run): Outcome | null {
    run.envelope = parseEnvelope(run.job.data);
    const { observer, tracing } = this.#options;
    if (tracing !== null) run.span = startRunSpan(tracing, run);
    observer.started(run);
    if (run.envelope !== null) return null;
    return final('invalid_job', 'The body of the job is not one that Waggle wrote');
  }

  /** Everything that decides against running before the handler is called. */
  #check(run: Run): Outcome | null {
    const { job, envelope } = run;
    if (job.deferredFailure) return { kind: 'fail', failure: decodeFailure(job.deferredFailure) };
    if (isExpired(job, envelope)) return { kind: 'fail', failure: NOT_IN_TIME };
    run.registration = this.#options.handlers.get(job.name) ?? null;
    if (run.registration === null)
      return final('unknown_task', `This worker has no handler for task ${job.name}`);
    const parsed = run.registration.task.payload.safeParse(envelope?.payload);
    if (!parsed.success) return final('invalid_payload', parsed.error.message);
    run.payload = parsed.data;
    return null;
  }

  async #attempt(run: Run): Promise<Outcome> {
    run.settled = await runAttempt(async () => this.#invoke(run), {
      timeoutMs: run.envelope?.timeoutMs ?? null,
      abort: run.abort,
      graceMs: this.#options.graceMs,
    });
    return classify(run.settled, run.abort.signal, attemptCount(run.job), this.#options.resultBytes);
  }

  async #invoke(run: Run): Promise<unknown> {
    const ctx = await this.#context(run);
    // The lock may have gone, or the shutdown come, while the context was read.
    run.abort.signal.throwIfAborted();
    return run.registration?.run(ctx);
  }

  async #context(run: Run): Promise<JobContext> {
    const { source, job, envelope } = run;
    if (envelope === null) throw new Error('A run without an envelope has no context');
    const parents = await parentResults(source, job.id ?? '', envelope);
    const { writer, logger } = this.#options;
    return createContext({ run, envelope, parents, writer, logger });
  }

  async #record(run: Run, mayFetch: () => boolean): Promise<Claimed | null> {
    const { source, job, token } = run;
    run.ended = true;
    const fetchNext = (): boolean => run.settled?.kind !== 'unresponsive' && mayFetch();
    const stopped = run.unrecordable.signal;
    const recorded = await this.#options.recorder.record({
      source,
      job,
      token,
      outcome: run.outcome,
      fetchNext,
      stopped,
    });
    run.outcome = recorded.outcome;
    run.release();
    return recorded.next;
  }

  #report(run: Run): void {
    this.#options.observer.finished(run);
    if (run.span !== null) endRunSpan(run.span, run.outcome);
  }

  #follow(run: Run): void {
    this.#options.consequences.follow(run);
  }

  async #outlast(run: Run): Promise<void> {
    if (run.settled?.kind !== 'unresponsive') return;
    this.#options.observer.overrunning(run);
    await run.settled.ended;
    this.#options.observer.overran(run);
  }

  #abort(run: Run, cause: keyof typeof ABORT_MESSAGES): void {
    run.abort.abort(new AttemptAborted(cause, ABORT_MESSAGES[cause]));
  }
}

function cancelRun(run: Run, reason: string): void {
  run.abort.abort(new AttemptAborted('cancelled', reason));
}

function nameOf({ source, job }: Run): string {
  return `${source.shard} ${source.name} ${job.id ?? ''}`;
}

const ABORT_MESSAGES = {
  shutdown: 'The worker is shutting down',
  lock_lost: 'The lock of the job was lost',
};

/** A time to live bounds the wait for the first start; a job that came back was in time. */
function isExpired(job: Job, envelope: JobEnvelope | null): boolean {
  const expiresAt = envelope?.expiresAt ?? null;
  return expiresAt !== null && job.attemptsStarted <= 1 && Date.now() >= expiresAt;
}

function attemptCount(job: Job): AttemptCount {
  return { made: job.attemptsMade, max: job.opts.attempts ?? 1, backoff: job.opts.backoff };
}

function final(code: Failure['code'], message: string): Outcome {
  return { kind: 'fail', failure: { code, message: message.slice(0, 2048), retryable: false } };
}
