import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { nodeArguments } from '../../support/compiled.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** An entry point of the project as a process of its own. */
export interface EntryProcess {
  readonly child: ChildProcess;
  /** Every line it wrote, to either stream. */
  readonly lines: string[];
  /** Resolves with its exit code, or with null when a signal ended it. */
  readonly exited: Promise<number | null>;
  /** The first JSON log line with this message, also one that was written before. Rejects when the process ends first. */
  logged(message: string): Promise<Record<string, unknown>>;
  /** Sends SIGTERM, unless it has ended, and waits until it is gone. */
  stop(): Promise<number | null>;
}

/** Runs a TypeScript entry point with exactly this environment (and PATH). */
export function startEntry(entry: string, env: Record<string, string>): EntryProcess {
  const child = spawn(process.execPath, nodeArguments(entry), {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      for (const listener of listeners) listener();
    });
  }
  const exited = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  return {
    child,
    lines,
    exited,
    logged: (message) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const line = lines.map(parsed).find((entryLine) => entryLine?.['msg'] === message);
          if (line === undefined) return;
          listeners.delete(look);
          resolve(line);
        };
        listeners.add(look);
        look();
        void exited.then((code) => reject(new Error(`${entry} ended with ${code}:\n${lines.join('\n')}`)));
      }),
    stop() {
      if (child.exitCode === null) child.kill('SIGTERM');
      return exited;
    },
  };
}

function parsed(line: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
