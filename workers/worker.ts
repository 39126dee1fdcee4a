import { hostname } from 'node:os';
import { Redis } from 'ioredis';
import type { Engine } from '../queues/engine.ts';
import { connectWorker } from '../queues/topology/connections.ts';
import type { RedisConnection } from '../queues/topology/connections.ts';
import type { Logger } from '../src/shared/logger.ts';
import type { WorkerSettings } from '../src/shared/settings.ts';
import type { HandlerRegistry } from './handlers/registry.ts';
import type { WorkerMetrics } from './health/metrics.ts';
import { CancelListener } from './runtime/cancel-listener.ts';
import { Consequences } from './runtime/consequences.ts';
import { Dispatcher } from './runtime/dispatcher.ts';
import { Doorbell } from './runtime/doorbell.ts';
import { drainWorker } from './runtime/drain.ts';
import { Executor } from './runtime/executor.ts';
import { LockKeeper } from './runtime/lock-keeper.ts';
import { Maintenance } from './runtime/maintenance.ts';
import { Recorder } from './runtime/recorder.ts';
import { RunObserver } from './runtime/run-observer.ts';
import { ShardSource } from './runtime/source.ts';

export interface StartWorkerOptions {
  settings: WorkerSettings;
  engine: Engine;
  handlers: HandlerRegistry;
  metrics: WorkerMetrics;
  logger: Logger;
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
/** Without a doorbell sources are found by polling alone. */
const BLIND_POLL_MS = 250;

/** Starts to run jobs. The engine stays the caller's. */
export function startWorker(options: StartWorkerOptions): RunningWorker {
  const { settings, engine, handlers, metrics, logger } = options;
  const commands = connectWorker(settings.redisUrl, logger);
  // A source that had to open the connection itself would stay broken if the first attempt failed.
  commands.connect().catch(() => undefined);
  const workerName = `${hostname()}:${process.pid}`;
  const sources = openSources(settings, engine, commands, workerName);
  const locks = new LockKeeper({ lockMs: settings.lockMs, logger });
  const consequences = new Consequences({ retention: engine.retention, flows: engine.flows, logger });
  const executor = new Executor({
    handlers,
    locks,
    recorder: new Recorder(logger),
    consequences,
    observer: new RunObserver({ metrics, logger }),
    logger,
    graceMs: GRACE_MS,
  });
  const blocking = openBlocking(commands, logger);
  const pollMs = blocking === null ? BLIND_POLL_MS : POLL_MS;
  const dispatcher = new Dispatcher({
    sources,
    budget: settings.concurrency,
    executor,
    metrics,
    logger,
    pollMs,
  });
  const doorbell = blocking && openDoorbell(blocking, commands, dispatcher, logger);
  const { workerShards: shards } = settings;
  const { retention, superseded, presence } = engine;
  const maintenance = new Maintenance({
    sources,
    shards,
    queues: settings.queues,
    workerName,
    retention,
    superseded,
    presence,
    metrics,
    logger,
  });
  const cancels = new CancelListener({
    connection: connectWorker(settings.redisUrl, logger),
    channels: new Map(sources.map((source) => [source.backend.cancelChannel, source.shard])),
    onCancel: (shard, queue, jobId) => executor.supersede(shard, queue, jobId),
    logger,
  });
  metrics.gauges = {
    active: () => executor.running,
    budget: () => settings.concurrency,
    slotRepairs: () => sources.reduce((sum, source) => sum + source.backend.repairs, 0),
  };

  locks.start();
  maintenance.start();
  cancels.start();
  doorbell?.start();
  dispatcher.start(doorbell);

  let draining: Promise<void> | null = null;
  const parts = {
    dispatcher,
    doorbell,
    executor,
    consequences,
    maintenance,
    cancels,
    locks,
    sources,
    blocking,
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

/** Null on a cluster, whose nodes each hold some of the markers: no one connection can listen to all. */
function openBlocking(commands: RedisConnection, logger: Logger): Redis | null {
  if (!(commands instanceof Redis)) return null;
  const blocking = commands.duplicate({ autoResendUnfulfilledCommands: false });
  blocking.on('error', (error) => logger.debug({ err: error }, 'redis connection for listening'));
  // It connects by itself from now on; the first failure is reported through the listener.
  blocking.connect().catch(() => undefined);
  return blocking;
}

function openDoorbell(
  blocking: Redis,
  commands: RedisConnection,
  dispatcher: Dispatcher,
  logger: Logger,
): Doorbell | null {
  if (!(commands instanceof Redis)) return null;
  const { listenTo, onRing } = dispatcher;
  return new Doorbell({ blocking, commands, listenTo, onRing, logger });
}

async function redisTrouble(engine: Engine): Promise<string | null> {
  try {
    await engine.ping();
    return null;
  } catch {
    return 'redis is not available';
  }
}
