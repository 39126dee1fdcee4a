import { Worker } from 'bullmq';
import type { Job as BullJob } from 'bullmq';
import { z } from 'zod';
import { openEngine } from '../../../queues/engine.ts';
import type { Engine, EngineOptions } from '../../../queues/engine.ts';
import type { FairQueueBackend } from '../../../queues/fair/index.ts';
import type { JobEnvelope } from '../../../queues/jobs/envelope.ts';
import { encodeFailure } from '../../../queues/jobs/failure.ts';
import { defineTask } from '../../../queues/tasks/define-task.ts';
import { createTaskRegistry, taskRegistry } from '../../../queues/tasks/registry.ts';
import { createWaggleBackend } from '../../../queues/topology/backend.ts';
import { connectWorker } from '../../../queues/topology/connections.ts';
import { createLogger } from '../../../src/shared/logger.ts';
import { freshPrefix, testRedisUrl } from '../../support/redis.ts';

/** `work` takes any payload: what it does is up to the test's own worker. */
const work = defineTask({ name: 'work', payload: z.unknown(), defaults: { attempts: 1 } });

export const context = { correlationId: 'test' };

export interface TestEngine extends Engine {
  redisUrl: string;
  keyPrefix: string;
  /** A plain BullMQ worker on a queue of the tenant's shard. */
  work(
    tenant: string,
    run: (job: TestJob) => unknown,
    options?: { queue?: string; concurrency?: number },
  ): TestWorker;
}

export type TestJob = BullJob<JobEnvelope, unknown>;
export type TestWorker = Worker<JobEnvelope, unknown, string, FairQueueBackend>;

/** An engine of its own keys; `close()` closes its workers and their connections too. */
export async function openTestEngine(options: Partial<EngineOptions> = {}): Promise<TestEngine> {
  const { redisUrl = testRedisUrl(), keyPrefix = freshPrefix('engine') } = options;
  const engine = await openEngine({
    redisUrl,
    shards: 4,
    logger: createLogger({ level: 'silent', name: 'test' }),
    tasks: createTaskRegistry([...taskRegistry.values(), work]),
    ...options,
    keyPrefix,
  });
  const closers: (() => Promise<unknown>)[] = [];
  return {
    ...engine,
    redisUrl,
    keyPrefix,
    work(tenant, run, { queue = 'default', concurrency = 10 } = {}) {
      const connection = connectWorker(redisUrl);
      const worker: TestWorker = new Worker(
        queue,
        (job: TestJob) => Promise.resolve(run(job)),
        { connection, prefix: engine.topology.prefix(engine.topology.shardOf(tenant)), concurrency },
        createWaggleBackend,
      );
      worker.on('error', () => undefined);
      closers.push(async () => {
        await worker.close();
        connection.disconnect();
      });
      return worker;
    },
    async close() {
      await Promise.all(closers.splice(0).map((close) => close()));
      await engine.close();
    },
  };
}

/** An error as Waggle's workers throw it: BullMQ stores its message as the reason of the failure. */
export function failure(code: string, message = code): Error {
  return new Error(encodeFailure({ code, message, retryable: false }));
}
