import { RedisGuardError } from '../queues/topology/guard.ts';
import { openEngine } from '../queues/engine.ts';
import { createApp } from './api/app.ts';
import { startServer } from './api/server.ts';
import { createLogger } from './shared/logger.ts';
import type { Logger } from './shared/logger.ts';
import { apiSettings, SettingsError } from './shared/settings.ts';
import type { ApiSettings } from './shared/settings.ts';
import { portRefused, redisRefused } from './shared/start-errors.ts';
import { openTracing } from './shared/open-tracing.ts';

/** How long requests that were running when the drain began may take to finish. */
const DRAIN_MS = 10_000;

/** Starts the API server and stays until a signal ends it. */
async function run(settings: ApiSettings, logger: Logger): Promise<void> {
  const { redisUrl, shards, limits } = settings;
  const tracing = settings.tracing ? await openTracing('waggle-api') : null;
  const engine = await openEngine({ redisUrl, shards, limits, logger }).catch(redisRefused(redisUrl));
  try {
    // Listened for before anyone can know that the server is up and ask it to stop.
    const stopping = stopSignal();
    const draining = new AbortController();
    const app = createApp({ engine, settings, logger, draining: draining.signal, tracing });
    const server = await startServer(app, settings.port).catch(portRefused('PORT', settings.port));
    logger.info({ port: server.port }, 'listening');
    const signal = await stopping;
    logger.info({ signal }, 'draining');
    draining.abort();
    await server.drain(DRAIN_MS);
  } finally {
    // Last, so that every request that was let in still found its Redis.
    await engine.close();
    await tracing?.close();
  }
  logger.info('stopped');
}

/** The first request to stop. Another one ends the process at once, as the system does by itself. */
function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const stop = (signal: NodeJS.Signals): void => {
      process.off('SIGTERM', stop);
      process.off('SIGINT', stop);
      resolve(signal);
    };
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}

async function main(): Promise<void> {
  try {
    const settings = apiSettings(process.env);
    const logger = createLogger({ level: settings.logLevel, name: 'waggle-api' });
    await run(settings, logger);
  } catch (error) {
    const expected = error instanceof SettingsError || error instanceof RedisGuardError;
    process.stderr.write(
      `waggle api: ${expected ? error.message : String((error as Error).stack ?? error)}\n`,
    );
    process.exitCode = 1;
  }
}

await main();
