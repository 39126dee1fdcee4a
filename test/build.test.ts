import { beforeAll, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { smokeTest } from '../scripts/smoke.ts';
import { freshRedisUrl } from './support/redis.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

beforeAll(() => {
  execFileSync(process.execPath, ['--import', 'tsx', 'scripts/build.ts'], { cwd: ROOT });
});

test('the build holds every Lua script and neither tests nor the demo', () => {
  const scripts = (root: string): string[] =>
    readdirSync(join(root, 'queues'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.lua'))
      .sort();
  expect(scripts(join(ROOT, 'dist'))).toEqual(scripts(ROOT));
  expect(readdirSync(join(ROOT, 'dist')).sort()).toEqual(['queues', 'src', 'workers']);
  expect(existsSync(join(ROOT, 'dist/src/demo'))).toBe(false);
});

test('the built API and worker start, are healthy, run a job and end on SIGTERM', async () => {
  await smokeTest({
    cwd: ROOT,
    api: ['node', '--enable-source-maps', 'dist/src/main.js'],
    worker: ['node', '--enable-source-maps', 'dist/workers/main.js'],
    healthcheck: ['node', 'scripts/healthcheck.mjs'],
    redisUrl: await freshRedisUrl(),
    env: { PATH: process.env.PATH ?? '', NODE_ENV: 'production' },
  });
});
