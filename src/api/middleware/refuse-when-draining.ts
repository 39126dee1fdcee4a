import type { RequestHandler } from 'express';
import { WaggleError } from '../../shared/errors.ts';

/** A draining process is still alive, and its last metrics are worth reading. */
const ANSWERED_TO_THE_END: ReadonlySet<string> = new Set(['/livez', '/metrics']);
const RETRY_AFTER_MS = 1000;

/** Sends requests that arrive after the drain began (on connections kept alive) to another process. */
export function refuseWhenDraining(draining: AbortSignal): RequestHandler {
  return (req, res, next) => {
    if (!draining.aborted) {
      next();
      return;
    }
    res.shouldKeepAlive = false;
    if (ANSWERED_TO_THE_END.has(req.path)) next();
    else {
      next(
        new WaggleError('shutting_down', 'This server is shutting down; send the request again.', {
          retryAfterMs: RETRY_AFTER_MS,
        }),
      );
    }
  };
}
