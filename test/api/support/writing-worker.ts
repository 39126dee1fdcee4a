import { openEngine } from '../../../queues/engine.ts';
import type { Engine } from '../../../queues/engine.ts';
import { echo } from '../../../queues/tasks/echo.ts';
import { createHandlerRegistry, handle } from '../../../workers/handlers/registry.ts';
import { WorkerMetrics } from '../../../workers/health/metrics.ts';
import type { JobContext } from '../../../workers/runtime/context.ts';
import { startWorker } from '../../../workers/worker.ts';
import { silent, testSettings } from '../../workers/support.ts';

export interface WritingWorker {
  readonly engine: Engine;
  stop(): Promise<void>;
}

/** A worker in this process, for API processes beside it, whose `echo` does what the test says. */
export async function startWritingWorker(
  redisUrl: string,
  work: (ctx: JobContext) => unknown,
): Promise<WritingWorker> {
  const engine = await openEngine({ redisUrl, shards: 4, logger: silent });
  const worker = startWorker({
    settings: testSettings(redisUrl, 4),
    engine,
    handlers: createHandlerRegistry([handle(echo, (ctx) => work(ctx))]),
    metrics: new WorkerMetrics({ ofProcess: false }),
    logger: silent,
  });
  return {
    engine,
    async stop() {
      await worker.drain();
      await engine.close();
    },
  };
}
