import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Engine } from '../queues/engine.ts';
import { StreamWriter } from '../queues/streams/writer.ts';
import { connectWorker, isOpen } from '../queues/topology/connections.ts';
import type { RedisConnection } from '../queues/topology/connections.ts';
import type { Logger } from '../src/shared/logger.ts';
import type { WorkerSettings } from '../src/shared/settings.ts';
import type { Tracing } from '../src/shared/tracing.ts';
import type { HandlerRegistry } from './handlers/registry.ts';
import type { WorkerMetrics } from './health/metrics.ts';
import { CancelListener } from './runtime/cancel-listener.ts';
import { Consequences } from './runtime/consequences.ts';
import { Dispatcher } from './runtime/dispatcher.ts';
import { Doorbells } from './runtime/doorbells.ts';
import { drainWorker } from './runtime/drain.ts';
import { Executor } from './runtime/executor.ts';
import { LimitBalancer } from './runtime/limit-balancer.ts';
import { LockKeeper } from './runtime/lock-keeper.ts';
import { Maintenance } from './runtime/maintenance.ts';
import { Recorder } from './runtime/recorder.ts';
import { RunObserver } from './runtime/run-observer.ts';
import { ShardSource } from './runtime/source.ts';
import { UsageAccount } from './runtime/usage-account.ts';

export interface StartWorkerOptions {
  settings: WorkerSettings;
  engine: Engine;
  handlers: HandlerRegistry;
  metrics: WorkerMetrics;
  logger: Logger;
  /** Null, or not given = nothing is traced. */
  tracing?: Tracing | null;
}

export interface RunningWorker {
  /** Jobs this process runs now. */
  readonly active: number;
  /** Null when the worker takes work; else why it does not. */
  notReady(): Promise<string | null>;
  /**
   * Stops claiming, lets jobs finish until the drain deadline, hands the rest back, and closes what it opened. May be
   * called more than once. Resolves in bounded time, whatever handlers and Redis do.
   */
  drain(): Promise<void>;
}

/** How long an aborted handler may take to stop before its job goes on without it. */
const GRACE_MS = 1000;
const POLL_MS = 5000;

/** Starts to run jobs. The engine stays the caller's. */
export function startWorker(options: StartWorkerOptions): RunningWorker {
  const { settings, engine, handlers, metrics, logger, tracing = null } = options;
  const commands = connectWorker(settings.redisUrl, logger);
  // A source that had to open the connection itself would stay broken if the first attempt failed.
  commands.connect().catch(() => undefined);
  const workerName = `${hostname()}:${process.pid}`;
  const sources = openSources(settings, engine, commands, workerName);
  const locks = new LockKeeper({ lockMs: settings.lockMs, logger });
  const consequences = new Consequences({ retention: engine.retention, flows: engine.flows, logger });
  const usage = new UsageAccount({ shards: settings.workerShards, book: engine.usageBook, logger });
  const executor = new Executor({
    handlers,
    locks,
    recorder: new Recorder(logger),
    consequences,
    observer: new RunObserver({ metrics, usage, logger }),
    writer: new StreamWriter(commands, engine.topology.keys),
    tracing,
    logger,
    graceMs: GRACE_MS,
    resultBytes: settings.resultBytes,
  });
  const dispatcher = new Dispatcher({
    sources,
    budget: settings.concurrency,
    executor,
    metrics,
    logger,
    pollMs: POLL_MS,
  });
  const { listenTo, onRing } = dispatcher;
  const doorbells = new Doorbells({ sources, commands, listenTo, onRing, logger });
  const { workerShards: shards } = settings;
  const { retention, endings, purges, presence } = engine;
  const maintenance = new Maintenance({
    sources,
    shards,
    queues: settings.queues,
    workerName,
    retention,
    endings,
    purges,
    presence,
    metrics,
    logger,
  });
  const subscriber = connectWorker(settings.redisUrl, logger);
  const cancels = new CancelListener({
    connection: subscriber,
    channels: new Map(sources.map((source) => [source.backend.cancelChannel, source.shard])),
    onCancel: (cancel) => {
      executor.cancel(cancel);
      maintenance.heardCancel(cancel);
    },
    logger,
  });
  const balancer = new LimitBalancer({
    overall: engine.overall,
    subscriber,
    owner: `${workerName}:${randomUUID()}`,
    shards: settings.shards,
    logger,
  });
  metrics.gauges = {
    active: () => executor.running,
    budget: () => settings.concurrency,
    slotRepairs: () => sources.reduce((sum, source) => sum + source.backend.repairs, 0),
    connections: () => ({
      jobs: isOpen(commands),
      doorbell: doorbells.isOpen,
      subscriber: isOpen(subscriber),
      ...engine.connections(),
    }),
  };

  locks.start();
  maintenance.start();
  usage.start();
  cancels.start();
  balancer.start();
  doorbells.start();
  dispatcher.start(doorbells);

  let draining: Promise<void> | null = null;
  const parts = {
    dispatcher,
    doorbells,
    executor,
    consequences,
    maintenance,
    usage,
    balancer,
    cancels,
    locks,
    sources,
    commands,
  };
  return {
    get active() {
      return executor.running;
    },
    notReady: () => (draining === null ? redisTrouble(engine) : Promise.resolve('draining')),
    drain: () => (draining ??= drainWorker(parts, { drainMs: settings.drainMs, graceMs: GRACE_MS, logger })),
  };
}

function openSources(
  settings: WorkerSettings,
  engine: Engine,
  connection: RedisConnection,
  workerName: string,
): ShardSource[] {
  return settings.workerShards.flatMap((shard) =>
    settings.queues.map(
      (queue) =>
        new ShardSource({
          shard,
          queue,
          prefix: engine.topology.prefix(shard),
          connection,
          lockMs: settings.lockMs,
          stalledMs: settings.stalledMs,
          workerName,
        }),
    ),
  );
}

async function redisTrouble(engine: Engine): Promise<string | null> {
  try {
    await engine.ping();
    return null;
  } catch {
    return 'redis is not available';
  }
}
