import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openEngine } from '../../../queues/engine.ts';
import { connectProducer } from '../../../queues/topology/connections.ts';
import type { RedisConnection } from '../../../queues/topology/connections.ts';
import { guardRedis } from '../../../queues/topology/guard.ts';
import { Keys } from '../../../queues/topology/keys.ts';
import { startEmbeddedRedis } from '../../../src/demo/embedded-redis.ts';
import type { EmbeddedRedis } from '../../../src/demo/embedded-redis.ts';
import { createLogger } from '../../../src/shared/logger.ts';
import { freshPrefix } from '../../support/redis.ts';

const logger = createLogger({ level: 'silent', name: 'test' });
let server: EmbeddedRedis;
let redis: RedisConnection;

beforeAll(async () => {
  server = await startEmbeddedRedis();
  redis = connectProducer(server.url);
  await redis.connect();
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

test('the first process decides the number of shards; another number is refused with what to do', async () => {
  const keys = new Keys(freshPrefix());
  await guardRedis(redis, { shards: 4, keys });
  await guardRedis(redis, { shards: 4, keys });
  await expect(guardRedis(redis, { shards: 8, keys })).rejects.toThrow(
    /holds 4 shards, but WAGGLE_SHARDS is 8.*WAGGLE_SHARDS=4.*reshard.*:shards/s,
  );
  expect(await redis.get(keys.shards)).toBe('4');
});

test('two processes that start at once with different numbers are not both let in', async () => {
  const keys = new Keys(freshPrefix());
  const outcomes = await Promise.allSettled([2, 3].map((shards) => guardRedis(redis, { shards, keys })));
  expect(outcomes.map((one) => one.status).sort()).toEqual(['fulfilled', 'rejected']);
});

test('a policy that evicts is refused with what to do', async () => {
  await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
  const keyPrefix = freshPrefix();
  await expect(openEngine({ redisUrl: server.url, shards: 4, logger, keyPrefix })).rejects.toThrow(
    /maxmemory-policy allkeys-lru.*noeviction/s,
  );
  expect(await redis.get(new Keys(keyPrefix).shards)).toBeNull();
  await redis.config('SET', 'maxmemory-policy', 'noeviction');
});

test('where CONFIG is forbidden the policy is read from INFO', async () => {
  await redis.acl('SETUSER', 'managed', 'on', '>secret', '~*', '&*', '+@all', '-config');
  const url = `redis://managed:secret@127.0.0.1:${server.port}`;
  const managed = connectProducer(url);
  await managed.connect();
  await expect(managed.config('GET', 'maxmemory-policy')).rejects.toThrow(/NOPERM/);
  await expect(guardRedis(managed, { shards: 4, keys: new Keys(freshPrefix()) })).resolves.toBeUndefined();
  await redis.config('SET', 'maxmemory-policy', 'volatile-ttl');
  await expect(guardRedis(managed, { shards: 4, keys: new Keys(freshPrefix()) })).rejects.toThrow(
    /volatile-ttl/,
  );
  await redis.config('SET', 'maxmemory-policy', 'noeviction');
  managed.disconnect();
});

test('an engine without a server fails soon with redis_unavailable', async () => {
  const started = Date.now();
  await expect(openEngine({ redisUrl: 'redis://127.0.0.1:1', shards: 4, logger })).rejects.toMatchObject({
    code: 'redis_unavailable',
  });
  expect(Date.now() - started).toBeLessThan(10_000);
});

test('a server that hangs fails a call instead of holding it', async () => {
  const hung = connectProducer(server.url);
  await hung.connect();
  process.kill(server.pid, 'SIGSTOP');
  try {
    await expect(hung.ping()).rejects.toThrow(/timed out/i);
  } finally {
    process.kill(server.pid, 'SIGCONT');
    hung.disconnect();
  }
});
