import { setTimeout as delay } from 'node:timers/promises';
import { openEngine } from '../queues/engine.ts';
import type { Engine } from '../queues/engine.ts';
import { RedisGuardError } from '../queues/topology/guard.ts';
import { createLogger } from '../src/shared/logger.ts';
import type { Logger } from '../src/shared/logger.ts';
import { SettingsError, workerSettings } from '../src/shared/settings.ts';
import type { WorkerSettings } from '../src/shared/settings.ts';
import { isRedisAway, portRefused, redisAway } from '../src/shared/start-errors.ts';
import { openTracing } from '../src/shared/open-tracing.ts';
import { openBuiltInHandlers } from './handlers/built-in.ts';
import { WorkerMetrics } from './health/metrics.ts';
import { startHealthServer } from './health/server.ts';
import { settlesWithin } from './runtime/deadline.ts';
import { startWorker } from './worker.ts';
import type { RunningWorker } from './worker.ts';

/** Longer than the last spans may take to be sent. */
const CLOSE_MS = 4000;

/** Runs until a signal ends it. @returns the exit code */
async function main(): Promise<number> {
  const settings = readSettings();
  if (settings === null) return 2;
  const logger = createLogger({ level: settings.logLevel, name: 'waggle-worker' });
  const ending = onFirstSignal(logger);
  try {
    return await run(settings, logger, ending);
  } catch (error) {
    if (error instanceof RedisGuardError || error instanceof SettingsError) logger.fatal(error.message);
    else logger.fatal({ err: error }, 'the worker could not run');
    return 1;
  }
}

async function run(settings: WorkerSettings, logger: Logger, ending: AbortSignal): Promise<number> {
  // Without a port nobody can read them.
  const metrics = new WorkerMetrics({ ofProcess: settings.port !== 0 });
  let worker: RunningWorker | null = null;
  const notReady = (): Promise<string | null> => worker?.notReady() ?? Promise.resolve('starting');
  const { registry } = metrics;
  const { port } = settings;
  const health =
    port === 0
      ? null
      : await startHealthServer({ port, notReady, registry }).catch(portRefused('WORKER_PORT', port));
  const engine = await openPatiently(settings, logger, ending);
  if (engine === null) {
    await health?.close();
    return 0;
  }
  const tracing = settings.tracing ? await openTracing('waggle-worker') : null;
  const handlers = openBuiltInHandlers({ ...settings, bulk: engine.bulk, tracing });
  worker = startWorker({ settings, engine, handlers: handlers.registry, metrics, logger, tracing });
  const { queues, workerShards, concurrency } = settings;
  logger.info({ queues, shards: workerShards, concurrency, healthPort: health?.port }, 'worker is running');

  await aborted(ending);
  await worker.drain();
  await settlesWithin(
    Promise.all([handlers.close(), engine.close(), health?.close(), tracing?.close()]),
    CLOSE_MS,
  );
  return 0;
}

function readSettings(): WorkerSettings | null {
  try {
    return workerSettings(process.env);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return null;
  }
}

/** Waits for Redis as long as it takes. Null when the process is told to end meanwhile. */
async function openPatiently(
  settings: WorkerSettings,
  logger: Logger,
  ending: AbortSignal,
): Promise<Engine | null> {
  for (let tries = 0; !ending.aborted; tries += 1) {
    try {
      return await openEngine({ redisUrl: settings.redisUrl, shards: settings.shards, logger });
    } catch (error) {
      if (!isRedisAway(error)) throw error;
      if (tries === 0) logger.error(redisAway(settings.redisUrl, error));
      logger.warn('Redis is not available; trying again');
      await delay(Math.min(250 * 2 ** tries, 5000), undefined, { signal: ending }).catch(() => undefined);
    }
  }
  return null;
}

/** The first SIGTERM or SIGINT aborts the signal; the second ends the process where it stands. */
function onFirstSignal(logger: Logger): AbortSignal {
  const ending = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (ending.signal.aborted) {
      logger.warn({ signal: name }, 'second signal: ending at once');
      process.exit(1);
    }
    logger.info({ signal: name }, 'signal received');
    ending.abort();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return ending.signal;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

// Handlers that ignored their abort may still keep the event loop alive.
process.exit(await main());
