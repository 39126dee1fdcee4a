import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Session } from 'node:inspector/promises';
import type { Profiler } from 'node:inspector';

/**
 * Calls between a benchmark and the processes it forks.
 *
 * The parent sends `{ call, argument }` and gets one `{ answer }` or `{ failure }` per call, in order; on top of that a
 * child may send `{ report }` at any time. A child ends when its parent hangs up, also when the parent was killed.
 */
type FromChild = { answer: unknown } | { failure: string } | { report: unknown };

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

/** A forked program of this folder. Any failure in it, or its early end, rejects every call that waits. */
export class BenchProcess {
  readonly #process: ChildProcess;
  readonly #waiting: Waiting[] = [];
  #broken: Error | undefined;

  /** @param config what the child's `readConfig` returns; must survive JSON */
  constructor(program: string, config: unknown, onReport: (report: unknown) => void = () => undefined) {
    this.#process = fork(new URL(program, import.meta.url), [JSON.stringify(config)]);
    this.#process.on('message', (message: FromChild) => {
      if ('report' in message) onReport(message.report);
      else if ('failure' in message) this.#breakOff(new Error(`${program}: ${message.failure}`));
      else this.#waiting.shift()?.resolve(message.answer);
    });
    this.#process.on('exit', (code, signal) => {
      this.#breakOff(new Error(`${program} ended (${signal ?? code})`));
    });
  }

  async call<T>(name: string, argument: unknown = null): Promise<T> {
    if (this.#broken) throw this.#broken;
    const answer = new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#process.send({ call: name, argument });
    return (await answer) as T;
  }

  /** Throws what the child failed with, if it did; for a parent that waits for reports and not for an answer. */
  check(): void {
    if (this.#broken) throw this.#broken;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = once(this.#process, 'exit');
    if (this.#process.connected) this.#process.disconnect();
    await gone;
  }

  #breakOff(error: Error): void {
    this.#broken ??= error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

/** In a child: what the parent passed. */
export const readConfig = <T>(): T => JSON.parse(process.argv[2] ?? 'null') as T;

const session = new Session();

/** What every child can do besides: profile itself from one call to the other. */
const profiling: Record<string, () => Promise<unknown>> = {
  startProfile: async () => {
    session.connect();
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: 500 });
    await session.post('Profiler.start');
  },
  takeProfile: async (): Promise<Profiler.Profile> => (await session.post('Profiler.stop')).profile,
};

/** In a child: answers the parent's calls until it hangs up. */
export function serve(handlers: Record<string, (argument: never) => unknown>): void {
  process.on('message', ({ call, argument }: { call: string; argument: never }) => {
    Promise.resolve()
      .then(() => (handlers[call] ?? profiling[call])?.(argument))
      .then((answer) => process.send?.({ answer: answer ?? null }))
      .catch(failToParent);
  });
  process.on('disconnect', () => process.exit(0));
}

/** In a child: tells the parent something it did not ask for. */
export function report(message: unknown): void {
  // A parent that has what it wanted hangs up without a word.
  process.send?.({ report: message }, undefined, undefined, () => undefined);
}

/** In a child: breaks off the parent's measurement. */
export function failToParent(error: unknown): void {
  process.send?.({ failure: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
