import { expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { freshPrefix, freshRedisUrl, testRedisUrl } from './redis.ts';

test('the test server is a real one that never evicts and never writes to disk', async () => {
  const redis = new Redis(testRedisUrl());
  expect(await redis.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
  expect(await redis.config('GET', 'save')).toEqual(['save', '']);
  expect(await redis.config('GET', 'appendonly')).toEqual(['appendonly', 'no']);
  redis.disconnect();
});

test('every fresh database is empty and another one', async () => {
  const urls = await Promise.all([freshRedisUrl(), freshRedisUrl()]);
  expect(new Set([...urls, testRedisUrl()]).size).toBe(3);
  for (const url of urls) {
    const redis = new Redis(url);
    expect(await redis.dbsize()).toBe(0);
    redis.disconnect();
  }
});

test('every fresh prefix is another one', () => {
  expect(freshPrefix('a')).toMatch(/^a-[0-9a-f]{12}$/);
  expect(freshPrefix()).not.toBe(freshPrefix());
});
