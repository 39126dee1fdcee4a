import { afterEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { startEmbeddedRedis } from '../../src/demo/embedded-redis.ts';
import type { EmbeddedRedis, EmbeddedRedisOptions } from '../../src/demo/embedded-redis.ts';
import { eventually, isAlive } from '../support/eventually.ts';

const FIXTURE = fileURLToPath(new URL('fixtures/keep-redis-running.ts', import.meta.url));

const started: EmbeddedRedis[] = [];
afterEach(() => Promise.all(started.splice(0).map((redis) => redis.stop())));

async function start(options?: EmbeddedRedisOptions): Promise<EmbeddedRedis> {
  const redis = await startEmbeddedRedis(options);
  started.push(redis);
  return redis;
}

async function settingsOf(url: string, names: string[]): Promise<string[]> {
  const client = new Redis(url);
  try {
    return await Promise.all(names.map(async (name) => (await client.config('GET', name))[1] ?? ''));
  } finally {
    client.disconnect();
  }
}

test('runs a server that never evicts, keeps nothing on disk and listens on loopback only', async () => {
  const redis = await start();
  const settings = await settingsOf(redis.url, ['maxmemory-policy', 'save', 'appendonly', 'bind']);
  expect(settings).toEqual(['noeviction', '', 'no', '127.0.0.1']);
  expect(isAlive(redis.pid)).toBe(true);
});

test('further arguments override the defaults', async () => {
  const redis = await start({ extraArgs: ['--maxmemory-policy', 'allkeys-lru', '--databases', '3'] });
  expect(await settingsOf(redis.url, ['maxmemory-policy', 'databases'])).toEqual(['allkeys-lru', '3']);
});

test('says which server it uses in one line', async () => {
  const lines: string[] = [];
  await start({ say: (line) => lines.push(line) });
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^Redis: using \/.*server\.$/);
});

test('stop ends the server, and a second stop does nothing', async () => {
  const redis = await start();
  await Promise.all([redis.stop(), redis.stop()]);
  expect(isAlive(redis.pid)).toBe(false);
  await redis.stop();
});

test('comes back on a port of the caller’s choice and refuses one that is in use', async () => {
  const first = await start();
  await expect(start({ port: first.port })).rejects.toThrow(`on port ${first.port} (is it in use?)`);
  await first.stop();
  const second = await start({ port: first.port });
  expect(second.url).toBe(first.url);
});

test.each([
  ['is killed', 'SIGKILL', 'process'],
  ['is killed with its whole process group', 'SIGKILL', 'group'],
  ['is interrupted with Ctrl-C', 'SIGINT', 'group'],
  ['is terminated', 'SIGTERM', 'process'],
] as const)('the server ends when its parent %s', async (_, signal, target) => {
  const parent = spawn(process.execPath, ['--import', 'tsx', FIXTURE], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface(parent.stdout), 'line')) as [string];
  const { pid } = JSON.parse(line) as { pid: number };
  expect(isAlive(pid)).toBe(true);

  process.kill(target === 'group' ? -(parent.pid ?? 0) : (parent.pid ?? 0), signal);
  await eventually('the server has ended', () => !isAlive(pid));
});
