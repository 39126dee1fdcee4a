import type { Logger } from '../../src/shared/logger.ts';
import { traceFields } from '../../src/shared/tracing.ts';
import type { WorkerMetrics } from '../health/metrics.ts';
import { firstWaitMs } from './first-wait.ts';
import { traceparentOf } from './run.ts';
import type { Run } from './run.ts';
import { unitsOf, unitsOfRun } from './source.ts';
import { TaskError } from './task-error.ts';
import type { UsageAccount } from './usage-account.ts';

/** Tells the log, the metrics and the tenants' accounts how runs went. Stacks appear here and nowhere else. */
export class RunObserver {
  readonly #metrics: WorkerMetrics;
  readonly #usage: Pick<UsageAccount, 'started' | 'charged' | 'finished'>;
  readonly #logger: Logger;

  constructor(options: {
    metrics: WorkerMetrics;
    usage: Pick<UsageAccount, 'started' | 'charged' | 'finished'>;
    logger: Logger;
  }) {
    this.#metrics = options.metrics;
    this.#usage = options.usage;
    this.#logger = options.logger;
  }

  /** The run was claimed, and its body says for whom. */
  started(run: Run): void {
    const { envelope, source, job } = run;
    if (envelope === null) return;
    this.#usage.started(source.shard, envelope.tenant, unitsOf(job), firstWaitMs(run));
  }

  finished(run: Run): void {
    const ranMs = performance.now() - run.startedAt;
    const seconds = ranMs / 1000;
    const task = taskLabel(run);
    this.#metrics.finished.inc({ task, outcome: run.outcome.kind });
    this.#metrics.runSeconds.observe({ task }, seconds);
    const waitMs = firstWaitMs(run);
    if (waitMs !== null) this.#metrics.waitSeconds.observe({ queue: run.source.name }, waitMs / 1000);
    this.#account(run, ranMs);
    this.#log(run, seconds);
  }

  /** An aborted handler did not stop; its job was recorded without it. */
  overrunning(run: Run): void {
    this.#metrics.overruns.inc();
    this.#logger.warn(fields(run), 'a handler ignores its abort signal and keeps its slot until it ends');
  }

  overran(run: Run): void {
    this.#metrics.overruns.dec();
    this.#logger.warn(fields(run), 'an aborted handler has ended; what it returned does not count');
  }

  /** However a run ended, also where the job is not ours any more: the tenant had the slot for so long. */
  #account({ envelope, source, job, outcome }: Run, ranMs: number): void {
    if (envelope === null) return;
    const units = unitsOfRun(job, ranMs);
    if (units > 0) this.#usage.charged(source.shard, envelope.tenant, units);
    if (outcome.kind === 'complete') this.#usage.finished(source.shard, envelope.tenant, 'completed');
    if (outcome.kind === 'fail') this.#usage.finished(source.shard, envelope.tenant, 'failed');
  }

  #log(run: Run, seconds: number): void {
    const { outcome } = run;
    const line = { ...fields(run), seconds: Number(seconds.toFixed(3)) };
    switch (outcome.kind) {
      case 'complete':
        return this.#logger.debug(line, 'job completed');
      case 'retry':
        return this.#logger.info(
          { ...line, ...cause(run), delayMs: outcome.delayMs },
          'attempt failed, job will be retried',
        );
      case 'fail':
        return this.#logger.warn({ ...line, ...cause(run) }, 'job failed');
      case 'hand-back':
        return this.#logger.info(line, 'job handed back');
      case 'pause-tenant':
        return this.#logger.info(
          { ...line, forMs: outcome.forMs },
          'tenant paused by its job, job handed back',
        );
      case 'pause-key':
        return this.#logger.info({ ...line, forMs: outcome.forMs }, 'key paused by its job, job delayed');
      case 'abandon':
        return this.#logger.warn(line, 'job is not ours any more; nothing was recorded');
    }
  }
}

function fields(run: Run): Record<string, unknown> {
  const { job, source, envelope, attempt } = run;
  return {
    jobId: job.id,
    task: job.name,
    queue: source.name,
    shard: source.shard,
    attempt,
    ...(envelope === null ? {} : { tenant: envelope.tenant, correlationId: envelope.correlationId }),
    ...traceFields(traceparentOf(run)),
  };
}

function cause({ outcome, settled }: Run): Record<string, unknown> {
  const failure = outcome.kind === 'retry' || outcome.kind === 'fail' ? { failure: outcome.failure } : {};
  if (settled?.kind !== 'threw') return failure;
  // A TaskError is a verdict of the handler, not a surprise: where it was thrown tells nothing.
  const { error } = settled;
  return { ...failure, err: error instanceof TaskError ? error.cause : error };
}

/** Names of tasks nobody registered come from outside and would make any number of series. */
function taskLabel({ job, registration }: Run): string {
  return registration === null ? 'unknown' : job.name;
}
