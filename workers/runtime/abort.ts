/**
 * Why a handler's signal was aborted.
 * - `timeout`: the attempt took longer than its job allows
 * - `shutdown`: the worker ends; the job goes back and costs no attempt
 * - `cancelled`: somebody cancels the job, or a newer one of its key takes its place; the message says why
 * - `lock_lost`: another worker may run the job by now; nothing of this attempt counts
 */
export type AbortCause = 'timeout' | 'shutdown' | 'cancelled' | 'lock_lost';

/** The `reason` of every signal a handler gets. */
export class AttemptAborted extends Error {
  override readonly cause: AbortCause;

  constructor(cause: AbortCause, message: string) {
    super(message);
    this.name = 'AbortError';
    this.cause = cause;
  }
}

/** Why the signal was aborted, or null while it is not. */
export function abortCause(signal: AbortSignal): AbortCause | null {
  return signal.reason instanceof AttemptAborted ? signal.reason.cause : null;
}
