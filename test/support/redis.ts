/**
 * The Redis of the test run: one real server, started before the first test file and ended after the last.
 *
 * What keeps tests apart, weakest first:
 * - `testRedisUrl()`: the database of this jest worker. Files that run at the same time never share it, files that run
 *   one after the other do, so everything a test writes there goes under a `freshPrefix()`.
 * - `freshRedisUrl()`: an empty database that no other test has, for code that decides its own keys (an entry point run
 *   as a process, the shard guard).
 * - `startEmbeddedRedis()` from src/demo: a server of the test's own, for outages, other settings and commandstats.
 */
import { randomBytes } from 'node:crypto';
import { Cluster, Redis } from 'ioredis';

/** Databases below this one are those of the jest workers; database 0 holds the counter of the others. */
const FIRST_FRESH_DATABASE = 64;

/** The database of this jest worker, as `redis://127.0.0.1:<port>/<database>`. */
export function testRedisUrl(): string {
  return `${serverUrl()}/${process.env.JEST_WORKER_ID ?? '1'}`;
}

/** A key prefix no other test has: `<label>-<12 hex digits>`. */
export function freshPrefix(label = 'test'): string {
  return `${label}-${randomBytes(6).toString('hex')}`;
}

/** An empty database that no other test of this run gets, as `redis://127.0.0.1:<port>/<database>`. */
export async function freshRedisUrl(): Promise<string> {
  const redis = new Redis(serverUrl());
  try {
    const taken = await redis.incr('test:databases-taken');
    return `${serverUrl()}/${FIRST_FRESH_DATABASE + taken}`;
  } finally {
    redis.disconnect();
  }
}

/** All keys that match, those of a cluster from each of its nodes. */
export async function keysOf(redis: Redis | Cluster, pattern: string): Promise<string[]> {
  const nodes = redis instanceof Cluster ? redis.nodes('master') : [redis];
  return (await Promise.all(nodes.map((node) => node.keys(pattern)))).flat();
}

function serverUrl(): string {
  const url = process.env.TEST_REDIS_URL;
  if (!url)
    throw new Error(
      'TEST_REDIS_URL is not set: run the tests through jest, whose global set-up starts Redis',
    );
  return url;
}
