import { spawn } from 'node:child_process';
import type { ChildProcess as NodeChild } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { endWithThisProcess } from './watchdog.ts';

/** Settings of the API and the workers. Whoever runs the demo may have some set for another Waggle. */
const OWN_SETTINGS = /^(WAGGLE_|WORKER_)|^(REDIS_URL|PORT|LOG_LEVEL)$/;

/** Ctrl-C reaches all processes of the terminal; one that ends of it first must not look as if it had crashed. */
const DEATH_SETTLES_MS = 200;

export interface ChildOptions {
  name: string;
  /** Path of its entry point in the project without the extension, such as `workers/main`. */
  entry: string;
  env: Record<string, string>;
  /** Takes its stdout and stderr, appended. */
  logPath: string;
  /** Called when it ended and nobody had asked for it. `how` is such as `exit code 1`. */
  onDeath: (child: Child, how: string) => void;
}

/** A process of the platform. It never outlives this one. */
export class Child {
  readonly name: string;
  readonly logPath: string;
  readonly #process: NodeChild;
  readonly #exited: Promise<void>;
  #stopping = false;

  constructor({ name, entry, env, logPath, onDeath }: ChildOptions) {
    this.name = name;
    this.logPath = logPath;
    const log = openSync(logPath, 'a');
    this.#process = spawn(process.execPath, nodeArguments(entry), {
      env: { ...foreignEnvironment(), ...env },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    const { pid } = this.#process;
    const callOff = pid === undefined ? () => Promise.resolve() : endWithThisProcess(pid);
    this.#exited = new Promise((resolve) => {
      const ended = (how: string): void => {
        void callOff().then(resolve);
        if (!this.#stopping) setTimeout(() => this.#stopping || onDeath(this, how), DEATH_SETTLES_MS);
      };
      this.#process.once('exit', (code, signal) => ended(signal ?? `exit code ${code}`));
      this.#process.once('error', (error) => ended(error.message));
    });
  }

  /** Asks it to end, kills it after `graceMs`, and resolves when it is gone. May be called any number of times. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#process.kill('SIGTERM');
    const kill = setTimeout(() => this.#process.kill('SIGKILL'), graceMs);
    await this.#exited;
    clearTimeout(kill);
  }

  /** Kills it without asking. */
  kill(): void {
    this.#stopping = true;
    this.#process.kill('SIGKILL');
  }
}

/** TypeScript runs through tsx; a build has JavaScript in the same places. */
function nodeArguments(entry: string): string[] {
  const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
  const path = fileURLToPath(new URL(`../../${entry}${extension}`, import.meta.url));
  return extension === '.ts' ? ['--import', import.meta.resolve('tsx'), path] : [path];
}

function foreignEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !OWN_SETTINGS.test(name)));
}

/** Ports that nobody listens on right now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject);
          server.once('listening', () => resolve((server.address() as AddressInfo).port));
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/**
 * Resolves when `url` answers with a 2xx.
 *
 * @throws the reason of `signal`, or Error naming `name` when it does not answer so within `timeoutMs`
 */
export async function untilReady(
  name: string,
  url: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let last = 'it does not answer';
  while (Date.now() < deadline) {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(2000)]);
    const status = await fetch(url, { signal: limit }).then(
      async (response) => (await response.arrayBuffer(), response.status),
      () => undefined,
    );
    signal.throwIfAborted();
    if (status !== undefined && status < 300) return;
    if (status !== undefined) last = `it answers with ${status}`;
    await sleep(50, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
  throw new Error(`${name} was not ready after ${timeoutMs / 1000} s: ${last}`);
}
