import type { ErrorRequestHandler, RequestHandler } from 'express';
import { WaggleError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import { traceFields } from '../../shared/tracing.ts';
import { discardBody, RequestAbortedError } from '../http/body.ts';
import { sendProblem, toWaggleError } from '../problem.ts';
import { requestRecord } from '../request-record.ts';

/** What no route answered. */
export function notFound(): RequestHandler {
  return (_req, _res, next) => {
    next(new WaggleError('not_found', 'There is nothing here for this method and path.'));
  };
}

/** The one place where an error becomes an answer. Must be the last middleware. */
export function errorHandler(logger: Logger): ErrorRequestHandler {
  // Express knows an error handler by its four parameters.
  return async (error: unknown, req, res, _next) => {
    if (error instanceof RequestAbortedError) {
      res.destroy();
      return;
    }
    const record = requestRecord(res);
    const known = toWaggleError(error);
    if (known.code === 'internal') {
      logger.error(
        {
          err: error,
          requestId: record.requestId,
          correlationId: record.correlationId,
          ...traceFields(record.traceparent),
        },
        'unexpected error',
      );
    }
    if (res.headersSent) {
      // An answer that has ended is complete, whatever happened after that.
      if (!res.writableEnded) res.destroy();
      return;
    }
    await discardBody(req);
    sendProblem(res, known, record.requestId);
  };
}
