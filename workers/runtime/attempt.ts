import { AttemptAborted } from './abort.ts';

/** How the call of a handler ended. */
export type Settled =
  | { kind: 'returned'; value: unknown }
  | { kind: 'threw'; error: unknown }
  /** It was aborted and has not stopped; `ended` resolves when it does, and its result counts for nothing. */
  | { kind: 'unresponsive'; ended: Promise<unknown> };

export interface AttemptOptions {
  /** Null = no bound. */
  timeoutMs: number | null;
  abort: AbortController;
  /** How long an aborted handler may take to stop before the worker goes on without it, in ms. */
  graceMs: number;
}

/** Runs a handler with its timeout. Never rejects, whatever the handler does. */
export async function runAttempt(handler: () => unknown, options: AttemptOptions): Promise<Settled> {
  const { abort, graceMs } = options;
  const timer = startTimeout(options);
  try {
    const work = settle(handler);
    const aborted = whenAborted(abort.signal);
    const first = await Promise.race([work, aborted.promise]);
    aborted.forget();
    return first ?? (await within(graceMs, work)) ?? { kind: 'unresponsive', ended: work };
  } finally {
    clearTimeout(timer);
  }
}

function startTimeout({ timeoutMs, abort }: AttemptOptions): NodeJS.Timeout | undefined {
  if (timeoutMs === null) return undefined;
  return setTimeout(() => {
    abort.abort(new AttemptAborted('timeout', `The attempt took longer than ${timeoutMs} ms`));
  }, timeoutMs);
}

/** Turns a synchronous throw and a rejection into the same value. */
async function settle(handler: () => unknown): Promise<Settled> {
  try {
    return { kind: 'returned', value: await handler() };
  } catch (error) {
    return { kind: 'threw', error };
  }
}

function whenAborted(signal: AbortSignal): { promise: Promise<null>; forget: () => void } {
  let listener = (): void => undefined;
  const promise = new Promise<null>((resolve) => {
    listener = () => resolve(null);
    if (signal.aborted) resolve(null);
    else signal.addEventListener('abort', listener, { once: true });
  });
  return { promise, forget: () => signal.removeEventListener('abort', listener) };
}

/** The value if it comes within `ms`, else null. */
async function within<T>(ms: number, work: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), ms);
  });
  try {
    return await Promise.race([work, timeUp]);
  } finally {
    clearTimeout(timer);
  }
}
