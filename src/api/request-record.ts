import type { Response } from 'express';

/** What is known about one request: the source of its log line, its metrics and its answer's headers. */
export interface RequestRecord {
  requestId: string;
  correlationId: string;
  /** The request's own span, or the caller's where nothing is traced here; undefined where there is neither. */
  traceparent: string | undefined;
  /** Monotonic, in milliseconds. */
  startedAt: number;
  /** The route's path as the OpenAPI document writes it: a bounded set of metric labels, whatever callers send. */
  route: string;
  /** Known once the credential has been checked. */
  tenant: string | undefined;
  /** The same: `admin`, the id of the API key, or the subject of the JWT. */
  caller: string | undefined;
}

/** The record of the request that `res` answers. It exists from the first middleware on. */
export function requestRecord(res: Response): RequestRecord {
  return (res.locals as { record: RequestRecord }).record;
}

export function setRequestRecord(res: Response, record: RequestRecord): void {
  (res.locals as { record: RequestRecord }).record = record;
}
