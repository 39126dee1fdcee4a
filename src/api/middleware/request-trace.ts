import type { RequestHandler } from 'express';
import type { Tracing } from '../../shared/tracing.ts';
import { requestRecord } from '../request-record.ts';

/** What probes and scrapers ask every few seconds is no part of any trace. */
const UNTRACED: ReadonlySet<string> = new Set(['/livez', '/readyz', '/metrics']);

/** A span for each request, child of the caller's; see the conventions of OpenTelemetry for HTTP servers. */
export function requestTrace(tracing: Tracing): RequestHandler {
  return (req, res, next) => {
    if (UNTRACED.has(req.path)) {
      next();
      return;
    }
    const record = requestRecord(res);
    const { method } = req;
    const span = tracing.start(method, {
      kind: 'server',
      parent: record.traceparent,
      attributes: {
        'http.request.method': method,
        'url.path': req.path,
        'waggle.request_id': record.requestId,
      },
    });
    record.traceparent = span.traceparent;
    res.once('close', () => {
      const { route, tenant } = record;
      span.setName(`${method} ${route}`);
      span.setAttributes({
        'http.route': route,
        'http.response.status_code': res.statusCode,
        ...(tenant === undefined ? {} : { 'waggle.tenant': tenant }),
      });
      if (res.statusCode >= 500) span.fail(String(res.statusCode));
      span.end();
    });
    next();
  };
}
