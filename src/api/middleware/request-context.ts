import type { IncomingHttpHeaders } from 'node:http';
import type { RequestHandler } from 'express';
import { CORRELATION_ID, newUlid } from '../../shared/ids.ts';
import { parseTraceparent } from '../../shared/tracing.ts';
import { setRequestRecord } from '../request-record.ts';

/** A request id ends up in log lines and in a header, so only what is harmless in both is taken over. */
const REQUEST_ID = /^[A-Za-z0-9._~-]{1,128}$/;

/** What later versions may add behind it (section 3.2.4) is not handed on. */
const TRACEPARENT_LENGTH = 55;

/** Gives every request its ids and says them in the answer. Must be the first middleware. */
export function requestContext(): RequestHandler {
  return (req, res, next) => {
    const requestId = requestIdOf(req.headers);
    const trace = traceOf(req.headers);
    const correlationId = correlationIdOf(req.headers) ?? trace?.traceId ?? requestId;
    setRequestRecord(res, {
      requestId,
      correlationId,
      traceparent: trace?.traceparent,
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

function correlationIdOf(headers: IncomingHttpHeaders): string | undefined {
  const given = headers['x-correlation-id'];
  return typeof given === 'string' && CORRELATION_ID.test(given) ? given : undefined;
}

function traceOf(headers: IncomingHttpHeaders): { traceparent: string; traceId: string } | undefined {
  const { traceparent } = headers;
  if (typeof traceparent !== 'string') return undefined;
  const traceId = parseTraceparent(traceparent)?.traceId;
  return traceId === undefined
    ? undefined
    : { traceparent: traceparent.slice(0, TRACEPARENT_LENGTH), traceId };
}
