import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

type Command = [string, ...string[]];

export interface Installation {
  /** The folder the commands run in. */
  cwd: string;
  api: Command;
  worker: Command;
  healthcheck: Command;
  redisUrl: string;
  /** What the programs find in their environment besides their own settings; nothing else is inherited. */
  env: Record<string, string>;
  /** User and group to run as; the caller's own when left out. */
  uid?: number;
}

interface Program {
  name: string;
  process: ChildProcess;
  env: Record<string, string>;
  command: Command;
  output: () => string;
}

const READY_TIMEOUT_MS = 90_000;
const STOP_TIMEOUT_MS = 60_000;
const ADMIN_TOKEN = 'smoke-test-admin-token';

/**
 * Starts the API and one worker as `installation` says, waits until their health checks pass, runs one job through
 * both, and ends them with SIGTERM.
 *
 * @throws Error with the programs' output when a step fails or a program ends with another exit code than 0
 */
export async function smokeTest(installation: Installation): Promise<void> {
  const [port, workerPort] = await Promise.all([freePort(), freePort()]);
  const env = { ...installation.env, REDIS_URL: installation.redisUrl, LOG_LEVEL: 'info' };
  const programs = [
    start('API', installation, installation.api, {
      ...env,
      PORT: String(port),
      WAGGLE_ADMIN_TOKEN: ADMIN_TOKEN,
    }),
    start('worker', installation, installation.worker, { ...env, WORKER_PORT: String(workerPort) }),
  ];
  try {
    await Promise.all(programs.map((program) => untilHealthy(program, installation)));
    await runOneJob(`http://127.0.0.1:${port}`);
    await Promise.all(programs.map(terminate));
  } catch (error) {
    const outputs = programs.map((program) => `--- ${program.name}\n${program.output()}`).join('\n');
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${outputs}`, {
      cause: error,
    });
  } finally {
    for (const program of programs) program.process.kill('SIGKILL');
  }
}

function start(name: string, at: Installation, command: Command, env: Record<string, string>): Program {
  const [file, ...args] = command;
  const owner = at.uid === undefined ? {} : { uid: at.uid, gid: at.uid };
  const child = spawn(file, args, { cwd: at.cwd, env, ...owner, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  }
  child.on('error', (error) => (output += error.message));
  return { name, process: child, env, command, output: () => output };
}

async function untilHealthy(program: Program, at: Installation): Promise<void> {
  const [file, ...args] = at.healthcheck;
  const deadline = Date.now() + READY_TIMEOUT_MS;
  for (;;) {
    if (hasEnded(program)) throw new Error(`the ${program.name} ended before it was healthy`);
    const check = spawn(file, [...args, program.command.join(' ')], {
      cwd: at.cwd,
      env: program.env,
      stdio: 'ignore',
    });
    const [code] = (await once(check, 'exit')) as [number | null];
    if (code === 0) return;
    if (Date.now() > deadline)
      throw new Error(`the ${program.name} is not healthy after ${READY_TIMEOUT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function runOneJob(origin: string): Promise<void> {
  const payload = { hello: 'waggle' };
  const response = await fetch(`${origin}/v1/jobs`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${ADMIN_TOKEN}`,
      'content-type': 'application/json',
      'x-tenant-id': 'smoke',
      prefer: 'wait=60',
    },
    body: JSON.stringify({ task: 'echo', payload }),
    signal: AbortSignal.timeout(90_000),
  });
  const text = await response.text();
  const job = JSON.parse(text) as { state?: string; result?: unknown };
  if (
    response.status !== 200 ||
    job.state !== 'completed' ||
    JSON.stringify(job.result) !== JSON.stringify(payload)
  ) {
    throw new Error(`the job did not complete: ${response.status} ${text}`);
  }
}

async function terminate(program: Program): Promise<void> {
  if (hasEnded(program)) throw new Error(`the ${program.name} ended by itself`);
  const exit = once(program.process, 'exit', { signal: AbortSignal.timeout(STOP_TIMEOUT_MS) });
  program.process.kill('SIGTERM');
  const [code, signal] = (await exit) as [number | null, string | null];
  if (code !== 0)
    throw new Error(`the ${program.name} ended on SIGTERM with ${code ?? signal} instead of exit code 0`);
}

function hasEnded({ process: { exitCode, signalCode } }: Program): boolean {
  return exitCode !== null || signalCode !== null;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
