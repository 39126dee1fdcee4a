import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import type { Queue } from 'bullmq';
import { Router } from 'express';
import type { Express, RequestHandler } from 'express';
import { isRedisUnavailable } from '../../queues/topology/redis-errors.ts';
import type { Topology } from '../../queues/topology/topology.ts';
import { boardName } from './board-address.ts';

/**
 * Actions of Bull Board that would go round the API: a job made here would have no tenant, and its envelope must not be
 * edited by hand.
 */
const REFUSED: ReadonlySet<string> = new Set([
  '/api/queues/:queueName/add',
  '/api/queues/:queueName/:jobId/update-data',
]);

/** Bull Board over every queue of every shard. */
export function createBoard(topology: Topology, path: string): Router {
  const server = new BoardServer();
  server.setBasePath(path);
  const board = createBullBoard({
    queues: [],
    serverAdapter: server,
    options: {
      uiConfig: {
        boardTitle: 'Waggle',
        hideDocsLink: true,
        miscLinks: [
          { text: 'Tenants', url: `${path}/tenants` },
          { text: 'Log out', url: `${path}/logout` },
        ],
        showMetrics: false,
        // Waggle's workers share connections between queues, so a list of connections by queue would be wrong.
        showWorkers: false,
      },
      handlerHooks: {
        before: ({ route }) =>
          REFUSED.has(route)
            ? {
                allow: false,
                status: 403,
                message: 'Jobs are made through POST /v1/jobs, where they get a tenant.',
              }
            : undefined,
      },
    },
  });

  const adapterOf = shardAdapters();
  /** New queues appear without a restart because the register is read for each request. */
  const showCurrentQueues: RequestHandler = async (_req, _res, next) => {
    const names = await topology.queueNames();
    board.replaceQueues(
      names.flatMap((name) =>
        Array.from({ length: topology.shards }, (_, shard) => adapterOf(topology.queue(shard, name), shard)),
      ),
    );
    next();
  };

  const app = server.getRouter() as Express;
  app.disable('x-powered-by');
  const router = Router();
  router.use('/api', showCurrentQueues);
  router.use(app);
  return router;
}

/** Leaves an outage of Redis to the API's own error handler; the rest is an answer that Bull Board's page can show. */
class BoardServer extends ExpressAdapter {
  override setErrorHandler(handler: Parameters<ExpressAdapter['setErrorHandler']>[0]): this {
    return super.setErrorHandler((error) => {
      if (isRedisUnavailable(error)) throw error;
      return handler(error);
    });
  }
}

/** One shard of one queue. Bull Board tells queues apart by name alone, and every shard has one of the same name. */
class ShardAdapter extends BullMQAdapter {
  readonly #boardName: string;

  constructor(queue: Queue, shard: number) {
    super(queue);
    this.#boardName = boardName(queue.name, shard);
  }

  override getName(): string {
    return this.#boardName;
  }
}

/** An adapter for as long as its queue lives; the topology opens a queue anew when its first contact failed. */
function shardAdapters(): (queue: Queue, shard: number) => ShardAdapter {
  const known = new WeakMap<Queue, ShardAdapter>();
  return (queue, shard) => {
    const adapter = known.get(queue) ?? new ShardAdapter(queue, shard);
    known.set(queue, adapter);
    return adapter;
  };
}
