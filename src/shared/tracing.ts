/**
 * Traces as OpenTelemetry has them. This file knows the shape alone; the SDK is loaded by `openTracing`, and only there,
 * so a process that does not trace neither loads nor calls any of it.
 */

export type SpanKind = 'server' | 'consumer' | 'client';
export type SpanAttributes = Record<string, string | number | boolean>;

export interface Span {
  /** Names the span to others, as in the W3C's header of that name. */
  readonly traceparent: string;
  /** For what is known later than the start. */
  setName(name: string): void;
  setAttributes(attributes: SpanAttributes): void;
  /** Marks what the span stands for as failed. */
  fail(message: string): void;
  end(): void;
}

export interface SpanStart {
  kind: SpanKind;
  /** The `traceparent` of what caused it; without a valid one a trace begins. */
  parent?: string | undefined;
  attributes?: SpanAttributes;
}

export interface Tracing {
  start(name: string, options: SpanStart): Span;
  /** Sends what has not been sent, for a few seconds at most. */
  close(): Promise<void>;
}

/** W3C Trace Context, section 3.2: version, trace id, parent id, flags. Version ff is forbidden. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

export interface TraceContext {
  traceId: string;
  spanId: string;
  flags: number;
}

/** Null for what is no valid `traceparent`. */
export function parseTraceparent(text: string): TraceContext | null {
  const [, traceId, spanId, flags] = TRACEPARENT.exec(text) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return null;
  return { traceId, spanId, flags: Number.parseInt(flags, 16) };
}

/** What a log line says of the span it belongs to, in the names of OpenTelemetry's log format; nothing outside of any trace. */
export function traceFields(traceparent: string | undefined): { trace_id?: string; span_id?: string } {
  const known = traceparent === undefined ? null : parseTraceparent(traceparent);
  return known === null ? {} : { trace_id: known.traceId, span_id: known.spanId };
}
