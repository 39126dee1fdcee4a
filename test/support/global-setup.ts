import { mkdtempSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { compileSources } from './compiled.ts';
import { startEmbeddedRedis } from '../../src/demo/embedded-redis.ts';

declare global {
  var testRedis: Awaited<ReturnType<typeof startEmbeddedRedis>> | undefined;
  var testRedisFolder: string | undefined;
}

/** Databases are cheap in Redis; there are enough for every test to have one of its own. */
const DATABASES = 4096;

/**
 * Starts the one Redis of a test run, and translates the code for the processes that tests start. The address of Redis is in
 * TEST_REDIS_URL; use test/support/redis.ts to get at it. With TEST_REDIS_BINARY that server (Redis or Valkey) is used for every test instead of the system's.
 */
export default async function globalSetup(): Promise<void> {
  const { TEST_REDIS_BINARY: binary } = process.env;
  if (binary) findFirst(resolve(binary));
  globalThis.testRedis = await startEmbeddedRedis({
    extraArgs: ['--databases', String(DATABASES)],
    say: (line) => process.stderr.write(`${line}\n`),
  });
  process.env.TEST_REDIS_URL = globalThis.testRedis.url;
  process.env.TEST_COMPILED = await compileSources();
}

/** Puts a server before all others of the PATH, also for tests that start one of their own. */
function findFirst(binary: string): void {
  globalThis.testRedisFolder = mkdtempSync(join(tmpdir(), 'waggle-test-redis-'));
  symlinkSync(binary, join(globalThis.testRedisFolder, 'redis-server'));
  process.env.PATH = `${globalThis.testRedisFolder}${delimiter}${process.env.PATH ?? ''}`;
}
