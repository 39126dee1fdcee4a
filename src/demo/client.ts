import type { Problem } from '../shared/schemas.ts';

const REQUEST_TIMEOUT_MS = 70_000; // Longer than the API holds a `?wait=` open.

/** An answer of the API that is no 2xx. The message names the call, the status and the problem. */
export class ApiError extends Error {
  readonly status: number;

  constructor(call: string, status: number, problem: Partial<Problem> | null) {
    super(
      `${call} was answered with ${status} ${problem?.code ?? ''}: ${problem?.detail ?? 'no problem document'}`,
    );
    this.name = 'ApiError';
    this.status = status;
  }
}

/** The HTTP API as one caller sees it. Every call ends with the reason of `signal` when that is aborted. */
export class Client {
  readonly #baseUrl: string;
  readonly #token: string;
  readonly #signal: AbortSignal;

  constructor(baseUrl: string, token: string, signal: AbortSignal) {
    this.#baseUrl = baseUrl;
    this.#token = token;
    this.#signal = signal;
  }

  /** The same API for another caller. */
  as(token: string): Client {
    return new Client(this.#baseUrl, token, this.#signal);
  }

  get<T>(path: string): Promise<T> {
    return this.#call('GET', path);
  }

  put<T>(path: string, body: object): Promise<T> {
    return this.#call('PUT', path, body);
  }

  post<T>(path: string, body: object): Promise<T> {
    return this.#call('POST', path, body);
  }

  async #call<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(this.#baseUrl + path, {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
      signal: AbortSignal.any([this.#signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
    }).catch((error: unknown) => {
      this.#signal.throwIfAborted();
      throw new Error(`${method} ${path} got no answer`, { cause: error });
    });
    const text = await response.text();
    if (!response.ok) throw new ApiError(`${method} ${path}`, response.status, parseProblem(text));
    return JSON.parse(text) as T;
  }
}

function parseProblem(text: string): Partial<Problem> | null {
  try {
    return JSON.parse(text) as Partial<Problem> | null;
  } catch {
    return null;
  }
}
