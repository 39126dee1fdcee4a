import type { JobError } from '../../src/shared/schemas.ts';

/** Why a job failed, as its `failedReason` carries it. */
export type Failure = JobError;

/** Codes that are states of their own rather than failures. */
export const CANCELLED = 'cancelled';
export const EXPIRED = 'expired';
export const TIMEOUT = 'timeout';

/** The text a worker gives BullMQ as the reason of a failure. */
export function encodeFailure(failure: Failure): string {
  const { code, message, retryable } = failure;
  return JSON.stringify({ code, message, retryable });
}

/** The failure a `failedReason` tells of, whether Waggle or BullMQ wrote it. */
export function decodeFailure(reason: string): Failure {
  return (
    encoded(reason) ?? bullmqReason(reason) ?? { code: 'task_failed', message: reason, retryable: false }
  );
}

/** Reasons BullMQ itself writes; its Redis keys are none of a caller's business. */
function bullmqReason(reason: string): Failure | null {
  if (/^job stalled more than/i.test(reason)) {
    return { code: 'stalled', message: 'its worker was lost more often than allowed', retryable: false };
  }
  const child = /^child (\S+) failed$/.exec(reason)?.[1];
  if (child === undefined) return null;
  const id = child.slice(child.lastIndexOf(':') + 1);
  return { code: 'child_failed', message: `child ${id} failed`, retryable: false };
}

function encoded(reason: string): Failure | null {
  if (!reason.startsWith('{"code":')) return null;
  try {
    const { code, message, retryable } = JSON.parse(reason) as Partial<Failure>;
    if (typeof code !== 'string') return null;
    return { code, message: typeof message === 'string' ? message : '', retryable: retryable === true };
  } catch {
    return null;
  }
}
