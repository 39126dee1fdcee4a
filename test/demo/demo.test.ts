import { afterEach, expect, test } from '@jest/globals';
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually, isAlive } from '../support/eventually.ts';

const MAIN = fileURLToPath(new URL('../../src/demo/main.ts', import.meta.url));

const demos: ChildProcess[] = [];
afterEach(() => {
  for (const demo of demos.splice(0)) demo.kill('SIGKILL'); // Its watchdogs end the rest.
});

class Demo {
  readonly process: ChildProcess;
  readonly ended: Promise<{ code: number | null }>;
  output = '';

  constructor(...args: string[]) {
    const env = { ...process.env, REDIS_URL: 'redis://127.0.0.1:1', NO_COLOR: '1' };
    this.process = spawn(process.execPath, ['--import', 'tsx', MAIN, ...args], {
      // A process group of its own, as a terminal makes for each command.
      detached: true,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    demos.push(this.process);
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    }
    this.ended = once(this.process, 'close').then(([code]) => ({ code: code as number | null }));
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  /** Resolves when it has written `text`; fails when it ends before. */
  async says(text: string): Promise<void> {
    const over = (): boolean => this.process.exitCode !== null || this.output.includes(text);
    await eventually(`the demo says ${JSON.stringify(text)}`, over);
    expect(this.output).toContain(text);
  }
}

interface ListedProcess {
  pid: number;
  command: string;
}

/** All processes that descend from `root`. */
function descendants(root: number): ListedProcess[] {
  const listed = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [])
    .map(([, pid, parent, command]) => ({
      pid: Number(pid),
      parent: Number(parent),
      command: command ?? '',
    }));
  const below = (parent: number): ListedProcess[] =>
    listed.filter((one) => one.parent === parent).flatMap((one) => [one, ...below(one.pid)]);
  return below(root);
}

async function expectGone(processes: ListedProcess[]): Promise<void> {
  // A moment for the watchdogs, which are told to end and not waited for.
  await eventually('all processes are gone', () => processes.every(({ pid }) => !isAlive(pid)));
}

function logFoldersOf({ pid }: Demo): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith(`waggle-demo-${pid}-`));
}

function milliseconds(text: string | undefined): number {
  const [, amount, unit] = /^(?:more than )?([\d.]+) (ms|s)$/.exec(text ?? '') ?? [];
  return Number(amount) * (unit === 's' ? 1000 : 1);
}

/** The figures of one of the two last lines of the comparison. */
function figures(output: string, label: string): { p50: number; longest: number; allDone: number } {
  const [, p50, longest, allDone] =
    new RegExp(`${label}: +p50 (.*), longest wait (.*), all 250 jobs done after (.*)\\.`).exec(output) ?? [];
  return { p50: milliseconds(p50), longest: milliseconds(longest), allDone: milliseconds(allDone) };
}

test('plays its story to the end, and the small tenants wait far less than first come, first served', async () => {
  const demo = new Demo();
  await demo.says('Now five small tenants arrive');
  const processes = descendants(demo.pid);
  expect(processes.filter(({ command }) => command.includes('workers/main.ts'))).toHaveLength(2);
  expect(processes.filter(({ command }) => command.includes('src/main.ts'))).toHaveLength(1);
  expect(await demo.ended).toEqual({ code: 0 });
  await expectGone(processes);

  const fair = figures(demo.output, 'With Waggle');
  const fcfs = figures(demo.output, 'First come, first served');
  expect(fair.p50).toBeLessThan(fcfs.p50 / 3);
  expect(fair.longest).toBeLessThan(fcfs.longest / 2);
  expect(fair.allDone).toBeLessThan(fcfs.allDone / 2);

  expect(demo.output).toMatch(/megacorp .*~\d+\/~\d+\/~\d+ \(/); // A line of the running table.
  expect(demo.output).toContain('with {"report":"ready"}'); // The flow's result.
  expect(demo.output).toMatch(/http:\/\/127\.0\.0\.1:\d+\/dashboard/);
  expect(demo.output).toContain('npm run demo -- --stay');
  expect(demo.output).not.toContain('\x1b'); // No terminal, no control sequences.
  expect(logFoldersOf(demo)).toEqual([]);
});

test.each([
  ['Ctrl-C in the middle of the story', 'sends 5,000 jobs', 'SIGINT', 'group', 130],
  ['SIGTERM while it still starts', 'Redis: using', 'SIGTERM', 'process', 143],
] as const)('%s leaves no process behind', async (_, moment, signal, target, code) => {
  const demo = new Demo();
  await demo.says(moment);
  const processes = descendants(demo.pid);
  // Ctrl-C in a terminal reaches the whole process group.
  process.kill(target === 'group' ? -demo.pid : demo.pid, signal);
  expect(await demo.ended).toEqual({ code });
  await expectGone(processes);
  expect(demo.output).toContain('Interrupted');
  expect(demo.output).not.toContain('failed');
  expect(logFoldersOf(demo)).toEqual([]);
});

test('a worker that dies ends the demo with exit code 1, its last log lines and nothing left', async () => {
  const demo = new Demo();
  await demo.says('sends 5,000 jobs');
  const processes = descendants(demo.pid);
  const worker = processes.find(({ command }) => command.includes('workers/main.ts'));
  process.kill(worker?.pid ?? 0, 'SIGKILL');

  expect(await demo.ended).toEqual({ code: 1 });
  await expectGone(processes);
  expect(demo.output).toMatch(/The demo failed: worker-[12] ended by itself \(SIGKILL\)/);
  const [, log] = /The last lines of (\S+):/.exec(demo.output) ?? [];
  expect(existsSync(log ?? '')).toBe(true);
  rmSync(dirname(log ?? ''), { recursive: true });
});

test('killed at once, it still leaves nothing', async () => {
  const demo = new Demo();
  await demo.says('Started:');
  const processes = descendants(demo.pid);
  demo.process.kill('SIGKILL');
  await eventually('its watchdogs ended everything', () => processes.every(({ pid }) => !isAlive(pid)));
  for (const folder of logFoldersOf(demo)) rmSync(join(tmpdir(), folder), { recursive: true });
});

test('an argument it does not know gets the usage', async () => {
  const demo = new Demo('--sty');
  expect(await demo.ended).toEqual({ code: 2 });
  expect(demo.output).toContain('--stay');
});
