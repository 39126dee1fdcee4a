import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from './processes.ts';
import type { Screen } from './screen.ts';

const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };
/** How much is shown of the log of a process that died, and of each log when it is not known who is to blame. */
const LINES_OF_THE_DEAD = 15;
const LINES_OF_EACH = 5;
/** A call fails sooner than the process it went to is known to be dead, and the death is the better reason. */
const REASON_SETTLES_MS = 700;

/** Somebody wants the demo to end. */
export class Interrupted extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super('interrupted');
    this.exitCode = exitCode;
  }
}

/** A process of the platform ended and nobody had asked for it. `how` is such as `exit code 1`. */
export class ChildDied extends Error {
  readonly child: Child;

  constructor(child: Child, how: string) {
    super(`${child.name} ended by itself (${how})`);
    this.child = child;
  }
}

/** The first signal ends `life`, for everything to stop in good order; each further one calls `hurry`. */
export function listenForSignals(life: AbortController, hurry: () => void): void {
  for (const [name, code] of Object.entries(EXIT_CODES)) {
    process.on(name, () => {
      if (life.signal.aborted) hurry();
      life.abort(new Interrupted(code));
    });
  }
}

/** Says why the demo ends before its time. Returns the exit code. */
export async function explainEnding(
  error: unknown,
  life: AbortSignal,
  screen: Screen,
  logFolder: string,
): Promise<number> {
  if (!life.aborted) await sleep(REASON_SETTLES_MS, undefined, { signal: life }).catch(() => undefined);
  const reason: unknown = life.aborted ? life.reason : error;
  if (reason instanceof Interrupted) {
    screen.say('\nInterrupted: stopping everything.');
    return reason.exitCode;
  }
  screen.say(`\nThe demo failed: ${describe(reason)}`, 'red');
  const died = reason instanceof ChildDied;
  const logs = died ? [reason.child.logPath] : readdirSync(logFolder).map((name) => join(logFolder, name));
  for (const log of logs) showEnd(log, died ? LINES_OF_THE_DEAD : LINES_OF_EACH, screen);
  screen.say(`The logs of all processes are in ${logFolder}`);
  return 1;
}

function showEnd(log: string, count: number, screen: Screen): void {
  const text = readFileSync(log, 'utf8').trimEnd();
  screen.say(`The last lines of ${log}:${text === '' ? ' it is empty' : ''}`);
  for (const line of text === '' ? [] : text.split('\n').slice(-count)) screen.say(`  ${line}`);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message} (${describe(error.cause)})`;
}

/** What `promise` gives, or the reason of `signal` when that comes first. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop);
  });
  try {
    signal.throwIfAborted();
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
