import type { Request, RequestHandler, Response } from 'express';
import type { Logger } from '../../shared/logger.ts';
import { traceFields } from '../../shared/tracing.ts';
import { requestRecord } from '../request-record.ts';

/**
 * One line per answered request. It holds no header, body or query string, so a secret cannot get into it by accident.
 * A probe that asks every second for `/livez` is not worth a line.
 */
export function requestLog(logger: Logger): RequestHandler {
  // The line is put together below from fields that hold no secret; looking for one costs more than writing it.
  const lines = logger.child({}, { redact: [] });
  return (req, res, next) => {
    if (pathOf(req.url) !== '/livez') res.once('close', () => log(lines, req, res));
    next();
  };
}

function log(logger: Logger, req: Request, res: Response): void {
  const isFailure = res.statusCode >= 500;
  if (!logger.isLevelEnabled(isFailure ? 'warn' : 'info')) return;
  const line = answered(req, res);
  if (isFailure) logger.warn(line, 'request failed');
  else logger.info(line, res.writableFinished ? 'request completed' : 'request aborted');
}

function answered(req: Request, res: Response): object {
  const record = requestRecord(res);
  return {
    requestId: record.requestId,
    correlationId: record.correlationId,
    ...traceFields(record.traceparent),
    tenant: record.tenant,
    caller: record.caller,
    method: req.method,
    path: pathOf(req.originalUrl),
    route: record.route,
    status: res.statusCode,
    durationMs: Math.round(performance.now() - record.startedAt),
  };
}

function pathOf(url: string): string {
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}
