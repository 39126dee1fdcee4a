import { mayRepeat, pause, retryPauseMs } from './retry.ts';
import { errorOf, WaggleError } from './waggle-error.ts';

export interface ClientOptions {
  /** Where the API is, such as `https://waggle.example.com`. A path in it stands before those of the API. */
  baseUrl: string;
  /** An API key, a JWT or the admin token. */
  token: string;
  /** The tenant to act for; only the admin token needs it. */
  tenant?: string;
  /** Default: the global one. */
  fetch?: typeof globalThis.fetch;
  /** Further attempts after one that failed for a passing reason; default 5, which takes some 10 s. */
  maxRetries?: number;
  /** For each attempt, until its answer is complete; default 30,000. Time to wait for a job comes on top. */
  timeoutMs?: number;
}

/** What any call may be given. */
export interface CallOptions {
  /** Ends the call, its retries included, with the reason of the signal. */
  signal?: AbortSignal | undefined;
}

export interface Call extends CallOptions {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  query?: Record<string, string | number | boolean | undefined>;
  headers?: Record<string, string | undefined>;
  /** Sent as JSON. */
  body?: unknown;
  /** How long the API may hold the answer back, beside `timeoutMs`. */
  heldMs?: number;
  /** False when carrying it out twice is not the same as once. */
  repeatable?: boolean;
}

/** Sends calls, and sends them again when something passing was in the way. */
export class Transport {
  readonly maxRetries: number;
  readonly #baseUrl: string;
  readonly #headers: Record<string, string>;
  readonly #fetch: typeof globalThis.fetch;
  readonly #timeoutMs: number;

  constructor({ baseUrl, token, tenant, fetch, maxRetries = 5, timeoutMs = 30_000 }: ClientOptions) {
    this.#baseUrl = new URL(baseUrl).href.replace(/\/+$/, '');
    this.#headers = {
      Authorization: `Bearer ${token}`,
      ...(tenant === undefined ? {} : { 'X-Tenant-Id': tenant }),
    };
    this.#fetch = fetch ?? globalThis.fetch;
    this.maxRetries = maxRetries;
    this.#timeoutMs = timeoutMs;
  }

  /** The JSON of the answer; undefined when it has no content. @throws WaggleError */
  async json<T>(call: Call): Promise<T> {
    return this.#retrying(call, async (failures) => {
      const text = await this.#within(call, async (signal) => {
        const response = await this.#fetch(this.#urlOf(call), this.#init(call, signal));
        if (response.ok) return response.text();
        // The first attempt may have done it and its answer got lost.
        if (failures > 0 && call.method === 'DELETE' && response.status === 404) return '';
        throw await errorOf(nameOf(call), response);
      });
      return (text === '' ? undefined : this.#parsed(call, text)) as T;
    });
  }

  /** An answer whose content is still to come. Its time is bounded by whoever reads it. @throws WaggleError */
  async open(call: Call, streamed?: { type: string; body: ReadableStream<Uint8Array> }): Promise<Response> {
    const attempt = (): Promise<Response> => this.#opened(call, streamed);
    return streamed === undefined ? this.#retrying(call, attempt) : attempt();
  }

  async #opened(
    call: Call,
    streamed?: { type: string; body: ReadableStream<Uint8Array> },
  ): Promise<Response> {
    // The time-out is for the head alone; once that is there, only the caller ends the rest.
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), this.#timeoutMs);
    const { signal } = call;
    const init = this.#init(
      call,
      signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]),
    );
    try {
      const response = await this.#fetch(this.#urlOf(call), {
        ...init,
        ...(streamed && {
          headers: { ...init.headers, 'Content-Type': streamed.type },
          body: streamed.body,
          duplex: 'half',
        }),
      });
      if (response.ok) return response;
      throw await errorOf(nameOf(call), response);
    } catch (error) {
      throw failure(call, error, late.signal.aborted);
    } finally {
      clearTimeout(timer);
    }
  }

  async #retrying<T>(call: Call, attempt: (failures: number) => Promise<T>): Promise<T> {
    for (let failures = 0; ; failures++) {
      try {
        return await attempt(failures);
      } catch (error) {
        if (!(error instanceof WaggleError) || failures >= this.maxRetries) throw error;
        if (!mayRepeat(error, call.repeatable ?? true)) throw error;
        await pause(retryPauseMs(failures, error.retryAfterMs), call.signal);
      }
    }
  }

  async #within<T>(call: Call, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const late = AbortSignal.timeout(this.#timeoutMs + (call.heldMs ?? 0));
    try {
      return await run(call.signal === undefined ? late : AbortSignal.any([call.signal, late]));
    } catch (error) {
      throw failure(call, error, late.aborted);
    }
  }

  #urlOf({ path, query = {} }: Call): string {
    const given = Object.entries(query).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)] as [string, string]],
    );
    const search = given.length === 0 ? '' : `?${new URLSearchParams(given).toString()}`;
    return `${this.#baseUrl}${path}${search}`;
  }

  #init(call: Call, signal: AbortSignal): RequestInit & { headers: Record<string, string> } {
    const own = Object.entries(call.headers ?? {}).filter(([, value]) => value !== undefined);
    const headers = { ...this.#headers, ...(Object.fromEntries(own) as Record<string, string>) };
    if (call.body === undefined) return { method: call.method, headers, signal };
    headers['Content-Type'] = 'application/json';
    return { method: call.method, headers, signal, body: JSON.stringify(call.body) };
  }

  #parsed(call: Call, text: string): unknown {
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new WaggleError('unexpected_answer', `${nameOf(call)} was answered with no JSON`, { cause });
    }
  }
}

/** What a call failed with, as its caller is to see it. @throws the reason of the caller's own signal */
function failure(call: Call, cause: unknown, late: boolean): unknown {
  if (cause instanceof WaggleError) return cause;
  if (call.signal?.aborted) return call.signal.reason;
  if (late) return new WaggleError('timeout', `${nameOf(call)} took too long`, { cause });
  return new WaggleError('unreachable', `${nameOf(call)} got no answer`, { cause });
}

function nameOf({ method, path }: Call): string {
  return `${method} ${path}`;
}

/** A path with its parts encoded: an id never becomes more than one part. */
export function pathOf(strings: TemplateStringsArray, ...parts: string[]): string {
  return String.raw({ raw: strings }, ...parts.map(encodeURIComponent));
}
