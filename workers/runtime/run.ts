import type { JobEnvelope } from '../../queues/jobs/envelope.ts';
import type { Span } from '../../src/shared/tracing.ts';
import type { Registration } from '../handlers/registry.ts';
import type { Settled } from './attempt.ts';
import type { ReleaseLock } from './lock-keeper.ts';
import type { Outcome } from './outcome.ts';
import type { Job, ShardSource } from './source.ts';

/** One job in one slot, from claim to record. Every step reads and fills it. */
export interface Run {
  readonly source: ShardSource;
  readonly job: Job;
  readonly token: string;
  readonly startedAt: number;
  /** Starts at 1. */
  readonly attempt: number;
  /** Aborts the handler. */
  readonly abort: AbortController;
  /** Aborted when there is no point in recording any more. */
  readonly unrecordable: AbortController;
  release: ReleaseLock;
  envelope: JobEnvelope | null;
  /** Null where nothing is traced. */
  span: Span | null;
  registration: Registration | null;
  payload: unknown;
  settled: Settled | null;
  outcome: Outcome;
  /** The handler is done with, and its job is not its own any more. */
  ended: boolean;
  /** Resolves when the outcome is in Redis, or there is nothing to be written. */
  readonly recorded: Promise<void>;
  readonly markRecorded: () => void;
}

/** The run's own span, or what enqueued its job where nothing is traced here; undefined where there is neither. */
export function traceparentOf({ span, envelope }: Pick<Run, 'span' | 'envelope'>): string | undefined {
  return span?.traceparent ?? envelope?.traceparent;
}

export function newRun(source: ShardSource, job: Job, token: string): Run {
  const recorded = latch();
  return {
    source,
    job,
    token,
    startedAt: performance.now(),
    attempt: job.attemptsMade + 1,
    abort: new AbortController(),
    unrecordable: new AbortController(),
    release: () => undefined,
    envelope: null,
    span: null,
    registration: null,
    payload: undefined,
    settled: null,
    outcome: { kind: 'abandon' },
    ended: false,
    recorded: recorded.opened,
    markRecorded: recorded.open,
  };
}

function latch(): { opened: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
