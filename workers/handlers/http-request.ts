import { request } from 'undici';
import type { Agent, Dispatcher } from 'undici';
import { httpRequest } from '../../queues/tasks/http-request.ts';
import type { Tracing } from '../../src/shared/tracing.ts';
import type { PayloadOf } from '../../queues/tasks/define-task.ts';
import type { JobContext } from '../runtime/context.ts';
import { TaskError } from '../runtime/task-error.ts';
import { RefusedTarget } from './http/guarded-agent.ts';
import { isPublicAddress, literalAddress } from './http/public-address.ts';
import { readBody } from './http/read-body.ts';
import { retryAfterMs } from './http/retry-after.ts';
import { handle } from './registry.ts';
import type { Registration } from './registry.ts';

type Context = JobContext<PayloadOf<typeof httpRequest>>;
type Response = Dispatcher.ResponseData;

export interface HttpRequestOptions {
  agent: Agent;
  allowPrivateTargets: boolean;
  /** Null = nothing is traced. */
  tracing: Tracing | null;
}

const MAX_BODY_BYTES = 256 * 1024;
const MAX_EXCERPT_CHARS = 300;

/** They belong to the connection or could make it mean another request than the one that was checked. */
const FORBIDDEN_HEADERS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** What of the answer's headers is kept with the job. Cookies and the like are not. */
const KEPT_HEADERS = [
  'content-type',
  'content-length',
  'content-encoding',
  'content-language',
  'cache-control',
  'date',
  'etag',
  'last-modified',
  'link',
  'location',
  'retry-after',
  'x-request-id',
];

/**
 * Sends one request. Redirects are not followed: a 3xx is a result, and where it leads has not been checked.
 * Status 408, 429, from 500 on, and errors of the network are retried; other 4xx are final.
 */
export function httpRequestHandler(options: HttpRequestOptions): Registration {
  return handle(httpRequest, async (ctx) => {
    const url = checkedUrl(ctx.job.payload.url, options);
    const response = await send(ctx, url, options);
    const body = await received(ctx, readBody(response.body, MAX_BODY_BYTES));
    refuseErrorStatus(response, body.text);
    return {
      status: response.statusCode,
      headers: keptHeaders(response),
      body: body.text,
      encoding: body.encoding,
      truncated: body.truncated,
    };
  });
}

function checkedUrl(text: string, { allowPrivateTargets }: HttpRequestOptions): URL {
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw refused('Only http and https are allowed');
  if (url.username !== '' || url.password !== '') throw refused('A URL must not carry credentials');
  const literal = literalAddress(url.hostname);
  if (literal !== null && !allowPrivateTargets && !isPublicAddress(literal)) {
    throw refused(`${url.hostname} is not a public address`);
  }
  return url;
}

async function send(ctx: Context, url: URL, { agent, tracing }: HttpRequestOptions): Promise<Response> {
  if (tracing === null) return sendAs(ctx, url, agent, ctx.traceparent);
  const { method } = ctx.job.payload;
  const span = tracing.start(method, {
    kind: 'client',
    parent: ctx.traceparent,
    // No path and no query: they may hold a secret.
    attributes: { 'http.request.method': method, 'server.address': url.hostname },
  });
  try {
    const response = await sendAs(ctx, url, agent, span.traceparent);
    span.setAttributes({ 'http.response.status_code': response.statusCode });
    if (response.statusCode >= 400) span.fail(String(response.statusCode));
    return response;
  } catch (error) {
    span.fail(error instanceof Error ? error.message : String(error));
    throw error;
  } finally {
    span.end();
  }
}

async function sendAs(
  ctx: Context,
  url: URL,
  agent: Agent,
  traceparent: string | undefined,
): Promise<Response> {
  const { method, body } = ctx.job.payload;
  const headers = requestHeaders(ctx, traceparent);
  return received(
    ctx,
    request(url, {
      dispatcher: agent,
      method,
      headers,
      body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
      signal: ctx.signal,
    }),
  );
}

function requestHeaders(ctx: Context, traceparent: string | undefined): Record<string, string> {
  const { headers, body } = ctx.job.payload;
  const given = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  const forbidden = Object.keys(given).find((name) => FORBIDDEN_HEADERS.has(name));
  if (forbidden !== undefined) {
    throw new TaskError('invalid_payload', `The header ${forbidden} cannot be set`, { retryable: false });
  }
  return {
    'user-agent': 'waggle',
    ...(body === undefined || typeof body === 'string' ? {} : { 'content-type': 'application/json' }),
    ...(traceparent === undefined ? {} : { traceparent }),
    ...given,
    'x-correlation-id': ctx.correlationId,
  };
}

/** Turns the errors of undici, DNS and sockets into the job's; an abort stays what it is. */
async function received<T>(ctx: Context, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    ctx.signal.throwIfAborted();
    if (isRefusedTarget(error)) throw refused(error.message);
    if ((error as { code?: unknown }).code === 'UND_ERR_INVALID_ARG') {
      throw new TaskError('invalid_payload', networkMessage(error), { retryable: false });
    }
    throw new TaskError('network_error', networkMessage(error), { retryable: true, cause: error });
  }
}

function refuseErrorStatus(response: Response, text: string): void {
  const { statusCode, headers } = response;
  if (statusCode < 400) return;
  const retryable = statusCode >= 500 || statusCode === 408 || statusCode === 429;
  const excerpt = text.slice(0, MAX_EXCERPT_CHARS).trim();
  throw new TaskError(
    'http_status',
    `The target answered ${statusCode}${excerpt === '' ? '' : `: ${excerpt}`}`,
    {
      retryable,
      retryAfterMs: retryable ? retryAfterMs(headers['retry-after'], Date.now()) : undefined,
    },
  );
}

function keptHeaders({ headers }: Response): Record<string, string> {
  const kept = KEPT_HEADERS.flatMap((name) => {
    const value = headers[name];
    return value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value] as const];
  });
  return Object.fromEntries(kept);
}

function refused(message: string): TaskError {
  return new TaskError('target_refused', message, { retryable: false });
}

/** Node wraps what went wrong with several addresses into one error. */
function isRefusedTarget(error: unknown): error is Error {
  if (error instanceof RefusedTarget) return true;
  return error instanceof AggregateError && error.errors.some((one) => one instanceof RefusedTarget);
}

function networkMessage(error: unknown): string {
  const { code } = error as { code?: unknown };
  const text = error instanceof Error && error.message !== '' ? error.message : 'The request failed';
  return typeof code === 'string' && !text.includes(code) ? `${text} (${code})` : text;
}
