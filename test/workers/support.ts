import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { openEngine } from '../../queues/engine.ts';
import type { Engine } from '../../queues/engine.ts';
import { createTaskRegistry } from '../../queues/tasks/registry.ts';
import { createLogger } from '../../src/shared/logger.ts';
import type { Job } from '../../src/shared/schemas.ts';
import type { WorkerSettings } from '../../src/shared/settings.ts';
import { createHandlerRegistry } from '../../workers/handlers/registry.ts';
import type { Registration } from '../../workers/handlers/registry.ts';
import { WorkerMetrics } from '../../workers/health/metrics.ts';
import { startWorker } from '../../workers/worker.ts';
import type { RunningWorker } from '../../workers/worker.ts';
import { nodeArguments } from '../support/compiled.ts';
import { freshPrefix, testRedisUrl } from '../support/redis.ts';

export const silent = createLogger({ level: 'silent', name: 'test' });

export interface TestWaggle {
  readonly engine: Engine;
  /** A further worker on the same engine. */
  startWorker(settings?: Partial<WorkerSettings>): { worker: RunningWorker; metrics: WorkerMetrics };
  /** Enqueues a job and gives its id. */
  enqueue(tenant: string, task: string, payload?: unknown, fields?: Record<string, unknown>): Promise<string>;
  /** As {@link finished}. */
  finished(tenant: string, id: string): Promise<Job>;
  startedWorkers(): readonly RunningWorker[];
  close(): Promise<void>;
}

/** An engine under a prefix of its own, with these handlers' tasks, and whatever workers the test starts. */
export async function openTestWaggle(options: {
  handlers: readonly Registration[];
  shards?: number;
  redisUrl?: string;
  keyPrefix?: string;
}): Promise<TestWaggle> {
  const { handlers, shards = 1, redisUrl = testRedisUrl(), keyPrefix = freshPrefix('wk') } = options;
  const tasks = createTaskRegistry(handlers.map((handler) => handler.task));
  const engine = await openEngine({ redisUrl, shards, logger: silent, tasks, keyPrefix });
  const workers: RunningWorker[] = [];
  return {
    engine,
    startWorker(changes = {}) {
      const metrics = new WorkerMetrics();
      const settings = { ...testSettings(redisUrl, shards), ...changes };
      const registry = createHandlerRegistry(handlers);
      const worker = startWorker({ settings, engine, handlers: registry, metrics, logger: silent });
      workers.push(worker);
      return { worker, metrics };
    },
    async enqueue(tenant, task, payload, fields = {}) {
      const request = { task, payload, ...fields } as Parameters<Engine['jobs']['enqueue']>[1];
      return (await engine.jobs.enqueue(tenant, request, { correlationId: 'corr-1' })).id;
    },
    startedWorkers: () => workers,
    finished: (tenant, id) => finished(engine, tenant, id),
    async close() {
      await Promise.all(workers.map((worker) => worker.drain()));
      await engine.close();
    },
  };
}

/** What a test waits at most: far more than a loaded machine takes, and less than a test may take. No claim. */
const WAIT_MS = 90_000;

/** The finished job. @throws Error when it is not finished by then */
export async function finished(engine: Engine, tenant: string, id: string): Promise<Job> {
  const job = await engine.jobs.waitUntilFinished(tenant, id, WAIT_MS);
  if (job.finishedAt === null) throw new Error(`${id} is still ${job.state} after ${WAIT_MS} ms`);
  return job;
}

export function testSettings(redisUrl: string, shards: number): WorkerSettings {
  return {
    redisUrl,
    shards,
    allowPrivateTargets: false,
    logLevel: 'silent',
    tracing: false,
    queues: ['default'],
    concurrency: 10,
    workerShards: Array.from({ length: shards }, (_, shard) => shard),
    port: 0,
    drainMs: 5000,
    lockMs: 30_000,
    stalledMs: 30_000,
    resultBytes: 1024 * 1024,
  };
}

/** One tenant for each shard. */
export function tenantsByShard(engine: Engine, shards: number): string[] {
  const tenants: string[] = [];
  for (let number = 0; tenants.filter(Boolean).length < shards; number += 1) {
    tenants[engine.topology.shardOf(`tenant-${number}`)] ??= `tenant-${number}`;
  }
  return tenants;
}

/** Something a test opens once and others wait for. */
export function latch<T = void>(): { opened: Promise<T>; open: (value: T) => void } {
  let open = (_value: T): void => undefined;
  const opened = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Resolves when the condition holds; looks every few ms. For states nobody announces. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = WAIT_MS): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('The condition did not come true in time');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The middle one: what is usual, whatever a machine with a lot to do makes of single ones. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

export interface WorkerProcess {
  readonly child: ChildProcess;
  /** Everything the process has written. */
  output(): string;
  /** Resolves when a line of its log has this message. */
  logged(message: string): Promise<void>;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** A real worker process; another `entry` has handlers of its own. */
export function forkWorker(env: Record<string, string>, entry = 'workers/main.ts'): WorkerProcess {
  const child = spawn(process.execPath, nodeArguments(entry), {
    cwd: ROOT,
    env: { PATH: process.env.PATH ?? '', LOG_LEVEL: 'debug', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  const collect = (chunk: Buffer): void => {
    text += chunk.toString();
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const ended = once(child, 'close').then(
    ([code, signal]) => (code ?? signal) as number | NodeJS.Signals | null,
  );
  const logged = async (message: string): Promise<void> => {
    await until(() => {
      if (child.exitCode !== null)
        throw new Error(`The worker ended before it logged "${message}":\n${text}`);
      return text.includes(`"msg":"${message}"`);
    });
  };
  return { child, output: () => text, logged, ended };
}
