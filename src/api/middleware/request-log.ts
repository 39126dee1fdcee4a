import type { Request, RequestHandler, Response } from 'express';
import { pinoHttp } from 'pino-http';
import type { Logger } from '../../shared/logger.ts';
import { traceFields } from '../../shared/tracing.ts';
import { requestRecord } from '../request-record.ts';

/**
 * One line per answered request. It holds no header, body or query string, so a secret cannot get into it by accident.
 * A probe that asks every second for `/livez` is not worth a line.
 */
export function requestLog(logger: Logger): RequestHandler {
  return pinoHttp<Request, Response>({
    logger,
    genReqId: (_req, res) => requestRecord(res).requestId,
    customAttributeKeys: { reqId: 'requestId', responseTime: 'durationMs' },
    quietReqLogger: true,
    quietResLogger: true,
    wrapSerializers: false,
    // The line is put together below from fields that hold no secret; looking for one costs more than writing it.
    redact: [],
    // pino-http serialises the request for a child logger that nobody uses here.
    serializers: { req: () => undefined },
    autoLogging: { ignore: (req) => pathOf(req.url) === '/livez' },
    customLogLevel: (_req, res, error) => (error !== undefined || res.statusCode >= 500 ? 'warn' : 'info'),
    customSuccessObject: (req, res, line: { durationMs: number }) => answered(req, res, line.durationMs),
    customErrorObject: (req, res, _error, line: { durationMs: number }) =>
      answered(req, res, line.durationMs),
    customErrorMessage: () => 'request failed',
  });
}

function answered(req: Request, res: Response, durationMs: number): object {
  const record = requestRecord(res);
  return {
    correlationId: record.correlationId,
    ...traceFields(record.traceparent),
    tenant: record.tenant,
    caller: record.caller,
    method: req.method,
    path: pathOf(req.originalUrl),
    route: record.route,
    status: res.statusCode,
    durationMs,
  };
}

function pathOf(url: string): string {
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}
