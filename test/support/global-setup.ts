import { startEmbeddedRedis } from '../../src/demo/embedded-redis.ts';

declare global {
  var testRedis: Awaited<ReturnType<typeof startEmbeddedRedis>> | undefined;
}

/** Databases are cheap in Redis; there are enough for every test to have one of its own. */
const DATABASES = 4096;

/** Starts the one Redis of a test run. Its address is in TEST_REDIS_URL; use test/support/redis.ts to get at it. */
export default async function globalSetup(): Promise<void> {
  globalThis.testRedis = await startEmbeddedRedis({
    extraArgs: ['--databases', String(DATABASES)],
    say: (line) => process.stderr.write(`${line}\n`),
  });
  process.env.TEST_REDIS_URL = globalThis.testRedis.url;
}
