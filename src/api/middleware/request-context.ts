import type { IncomingHttpHeaders } from 'node:http';
import type { RequestHandler } from 'express';
import { CORRELATION_ID, newUlid } from '../../shared/ids.ts';
import { setRequestRecord } from '../request-record.ts';

/** A request id ends up in log lines and in a header, so only what is harmless in both is taken over. */
const REQUEST_ID = /^[A-Za-z0-9._~-]{1,128}$/;
/** W3C Trace Context, section 3.2: version, trace id, parent id, flags. Version ff is forbidden. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/;

/** Gives every request its ids and says them in the answer. Must be the first middleware. */
export function requestContext(): RequestHandler {
  return (req, res, next) => {
    const requestId = requestIdOf(req.headers);
    const correlationId = correlationIdOf(req.headers) ?? requestId;
    setRequestRecord(res, {
      requestId,
      correlationId,
      startedAt: performance.now(),
      route: 'unmatched',
      tenant: undefined,
      caller: undefined,
    });
    res.setHeader('X-Request-Id', requestId);
    res.setHeader('X-Correlation-Id', correlationId);
    next();
  };
}

function requestIdOf(headers: IncomingHttpHeaders): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : newUlid();
}

/** The caller's own id, else the trace id of W3C trace context, else none. */
function correlationIdOf(headers: IncomingHttpHeaders): string | undefined {
  const given = headers['x-correlation-id'];
  if (typeof given === 'string' && CORRELATION_ID.test(given)) return given;
  const traceparent = headers['traceparent'];
  return typeof traceparent === 'string' ? TRACEPARENT.exec(traceparent)?.[1] : undefined;
}
