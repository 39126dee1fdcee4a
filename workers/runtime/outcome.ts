import { CANCELLED, TIMEOUT } from '../../queues/jobs/failure.ts';
import type { Failure } from '../../queues/jobs/failure.ts';
import { abortCause } from './abort.ts';
import type { Settled } from './attempt.ts';
import { backoffDelay, backoffPolicy } from './backoff.ts';
import { PauseKey, PauseTenant, TaskError } from './task-error.ts';

/** What becomes of a job after an attempt. */
export type Outcome =
  | { kind: 'complete'; result: unknown }
  | { kind: 'retry'; failure: Failure; delayMs: number }
  | { kind: 'fail'; failure: Failure }
  /** Back to the front of its line, no attempt spent. */
  | { kind: 'hand-back' }
  /** The same, and no job of its tenant starts for so long. */
  | { kind: 'pause-tenant'; forMs: number }
  /** Delayed for so long, in which it keeps its key; no attempt spent. */
  | { kind: 'pause-key'; forMs: number }
  /** Not ours any more: write nothing. */
  | { kind: 'abandon' };

/** What deciding about another attempt takes. */
export interface AttemptCount {
  /** Attempts that ended before this one. */
  made: number;
  max: number;
  /** BullMQ's `opts.backoff`. */
  backoff: unknown;
}

/** A foreign server may ask for a long pause, but must not park a job for days. */
const MAX_RETRY_AFTER_MS = 3_600_000;
const MAX_MESSAGE_CHARS = 2048;

/**
 * The outcome of an attempt, from what the handler did and why its signal was aborted, if it was.
 * @param resultBytes a result that takes more as JSON is a failure
 */
export function classify(
  settled: Settled,
  signal: AbortSignal,
  count: AttemptCount,
  resultBytes: number,
): Outcome {
  switch (abortCause(signal)) {
    case 'lock_lost':
      return { kind: 'abandon' };
    case 'cancelled':
      return { kind: 'fail', failure: { code: CANCELLED, message: abortMessage(signal), retryable: false } };
    case 'timeout':
      return retryOrFail({ code: TIMEOUT, message: abortMessage(signal), retryable: true }, count);
    case 'shutdown':
      // Work that was finished in spite of the signal is not thrown away.
      return settled.kind === 'returned' ? completed(settled.value, resultBytes) : { kind: 'hand-back' };
    case null:
      break;
  }
  if (settled.kind === 'returned') return completed(settled.value, resultBytes);
  if (settled.kind === 'threw') return pauseOf(settled.error) ?? failed(settled.error, count);
  return { kind: 'hand-back' };
}

/** Another attempt when there is one left and it may help; never sooner than `retryAfterMs` (bounded). */
export function retryOrFail(failure: Failure, count: AttemptCount, retryAfterMs = 0): Outcome {
  if (!failure.retryable || count.made + 1 >= count.max) return { kind: 'fail', failure };
  const policy = backoffPolicy(count.backoff);
  const pause = policy === null ? 0 : backoffDelay(policy, count.made + 1);
  return { kind: 'retry', failure, delayMs: Math.max(pause, boundedPause(retryAfterMs)) };
}

/** The failure an error stands for. Only a TaskError says more than its message. */
export function failureOf(error: unknown): Failure {
  if (error instanceof TaskError) {
    return { code: error.code, message: bounded(error.message), retryable: error.retryable };
  }
  const message = error instanceof Error ? error.message || error.name : String(error);
  const retryable = !(error instanceof Error && error.name === 'UnrecoverableError');
  return { code: 'task_failed', message: bounded(message), retryable };
}

function failed(error: unknown, count: AttemptCount): Outcome {
  return retryOrFail(failureOf(error), count, retryAfterOf(error));
}

/** The pause that a handler asks for; null when its error is none. */
function pauseOf(error: unknown): Outcome | null {
  if (error instanceof PauseTenant) return { kind: 'pause-tenant', forMs: boundedPause(error.forMs) };
  if (error instanceof PauseKey) return { kind: 'pause-key', forMs: boundedPause(error.forMs) };
  return null;
}

function boundedPause(ms: number): number {
  return Math.min(Math.max(Math.ceil(ms) || 0, 0), MAX_RETRY_AFTER_MS);
}

function completed(result: unknown, mostBytes: number): Outcome {
  try {
    const json = JSON.stringify(result) as string | undefined;
    // What JSON has no word for (undefined, a function) is stored as null.
    if (json === undefined) return { kind: 'complete', result: null };
    const bytes = Buffer.byteLength(json);
    if (bytes <= mostBytes) return { kind: 'complete', result };
    const message = `The result has ${bytes} bytes as JSON; at most ${mostBytes} are kept`;
    return { kind: 'fail', failure: { code: 'result_too_large', message, retryable: false } };
  } catch (error) {
    const message = bounded(
      `The result is not JSON: ${error instanceof Error ? error.message : String(error)}`,
    );
    return { kind: 'fail', failure: { code: 'invalid_result', message, retryable: false } };
  }
}

function retryAfterOf(error: unknown): number {
  return error instanceof TaskError ? (error.retryAfterMs ?? 0) : 0;
}

function abortMessage(signal: AbortSignal): string {
  return signal.reason instanceof Error ? signal.reason.message : String(signal.reason);
}

function bounded(message: string): string {
  return message.length <= MAX_MESSAGE_CHARS ? message : `${message.slice(0, MAX_MESSAGE_CHARS - 1)}…`;
}
