import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { smokeTest } from '../scripts/smoke.ts';
import { freshRedisUrl } from './support/redis.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

beforeAll(() => {
  execFileSync(process.execPath, ['--import', 'tsx', 'scripts/build.ts'], { cwd: ROOT });
});

test('the build holds every Lua script and style sheet, and neither tests nor the demo', () => {
  const read = (root: string): string[] =>
    ['queues', 'src']
      .flatMap((folder) =>
        readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) =>
          join(folder, path),
        ),
      )
      .filter((path) => /\.(lua|css)$/.test(path))
      .sort();
  expect(read(join(ROOT, 'dist'))).toEqual(read(ROOT));
  expect(read(ROOT)).toContain('src/dashboard/tenants/tenants.css');
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

describe('the client in an application of somebody else', () => {
  const application = mkdtempSync(join(tmpdir(), 'waggle-application-'));
  afterAll(() => rmSync(application, { recursive: true, force: true }));

  test('is imported by the name of the package, and runs with nothing beside it', () => {
    const say =
      "process.stdout.write(new WaggleClient({ baseUrl: 'http://localhost', token: 'x' }).jobs.constructor.name)";
    const run = (code: string, cwd: string): string =>
      execFileSync(process.execPath, ['--input-type=module', '-e', code], { cwd, encoding: 'utf8' });
    expect(run(`import { WaggleClient } from 'waggle'; ${say}`, ROOT)).toBe('JobsClient');
    cpSync(join(ROOT, 'dist/src/client'), join(application, 'alone'), { recursive: true });
    writeFileSync(join(application, 'package.json'), '{"type": "module"}');
    expect(run(`import { WaggleClient } from './alone/index.js'; ${say}`, application)).toBe('JobsClient');
  });

  test('brings its types', () => {
    mkdirSync(join(application, 'node_modules'));
    symlinkSync(ROOT, join(application, 'node_modules/waggle'));
    writeFileSync(
      join(application, 'application.ts'),
      `import { WaggleClient } from 'waggle';
      const { jobs } = new WaggleClient({ baseUrl: 'http://localhost', token: 'x' });
      const { state } = await jobs.create({ task: 'echo', priority: 3 });
      export const ended = state === 'completed' || state === 'failed';
      // @ts-expect-error no such field
      await jobs.create({ task: 'echo', prio: 3 });
      // @ts-expect-error no such state
      export const done = state === 'done';`,
    );
    const [, example = ''] =
      /```ts\n(import \{ WaggleClient \}.*?)```/s.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? [];
    expect(example).not.toBe('');
    const source = 'declare function manyJobs(): AsyncIterable<{ task: string }>;';
    writeFileSync(join(application, 'readme.ts'), `${example}${source}`);
    const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
    const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules/@types')];
    const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', ...types];
    const { status, stdout } = spawnSync(process.execPath, [tsc, ...options, 'application.ts', 'readme.ts'], {
      cwd: application,
      encoding: 'utf8',
    });
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
  });
});
