/**
 * Proves the image without a container engine: performs the Dockerfile's own instructions, line by line, in an empty
 * folder; then runs the API and a worker, with the image's commands, user and health check, against a real Redis.
 * What it cannot prove: the base image, and that an engine reads the Dockerfile as this file does.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { startEmbeddedRedis } from '../src/demo/embedded-redis.ts';
import { execForm, parseDockerfile, textsOf } from './dockerfile.ts';
import type { Stage } from './dockerfile.ts';
import { smokeTest } from './smoke.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const folder = mkdtempSync(join(tmpdir(), 'waggle-image-'));
chmodSync(folder, 0o755); // The image's user is not the one who makes the folder.
const roots = {
  context: join(folder, 'context'),
  build: join(folder, 'build'),
  image: join(folder, 'image'),
};
const [build, image] = parseDockerfile(readFileSync(join(ROOT, 'Dockerfile'), 'utf8')) as [Stage, Stage];

const redis = await startEmbeddedRedis({ say });
try {
  sendContext();
  perform(build, roots.build);
  perform(image, roots.image);
  refuseDevDependencies();
  await smokeTest({
    cwd: join(roots.image, 'app'),
    api: execForm(textsOf(image, 'CMD')[0] ?? ''),
    worker: workerCommand(),
    healthcheck: execForm(textsOf(image, 'HEALTHCHECK')[0] ?? ''),
    redisUrl: redis.url,
    env: { PATH: process.env.PATH ?? '', ...imageEnvironment() },
    ...(process.getuid?.() === 0 ? { uid: Number.parseInt(textsOf(image, 'USER')[0] ?? '', 10) } : {}),
  });
  say('The image’s steps work: API and worker started, were healthy, ran a job and ended on SIGTERM.');
} finally {
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
}

/** Copies what .dockerignore lets through; as there, the last rule that matches a path or a folder above it decides. */
function sendContext(): void {
  const rules = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => ({ ignored: !line.startsWith('!'), path: line.replace(/^!/, '') }));
  const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
  });
  for (const file of files.toString().split('\n')) {
    const rule = rules.findLast(({ path }) => path === '*' || file === path || file.startsWith(`${path}/`));
    if (file === '' || rule?.ignored || !existsSync(join(ROOT, file))) continue;
    cpSync(join(ROOT, file), join(roots.context, file));
  }
}

function perform(stage: Stage, root: string): void {
  let workdir = root;
  for (const { name, text } of stage.instructions) {
    if (name === 'WORKDIR') mkdirSync((workdir = join(root, text)), { recursive: true });
    if (name === 'COPY') copy(text, root, workdir);
    if (name === 'RUN') {
      say(`RUN ${text}`);
      const { status } = spawnSync('/bin/sh', ['-c', text], { cwd: workdir, stdio: 'inherit' });
      if (status !== 0) throw new Error(`RUN ${text} ended with exit code ${status}`);
    }
  }
}

function copy(text: string, root: string, workdir: string): void {
  const words = text.split(/\s+/);
  const [, alias] = /^--from=(.+)$/.exec(words[0] ?? '') ?? [];
  if (alias && alias !== build.alias) throw new Error(`COPY from an unknown stage: ${alias}`);
  const sourceRoot = alias ? roots.build : roots.context;
  const paths = alias ? words.slice(1) : words;
  const target = paths.at(-1) ?? '';
  for (const path of paths.slice(0, -1)) {
    const source = join(sourceRoot, path);
    const into =
      target.endsWith('/') && path !== '.'
        ? join(workdir, target, relative(dirname(source), source))
        : join(workdir, target);
    if (!into.startsWith(root)) throw new Error(`COPY outside the stage: ${text}`);
    cpSync(source, into, { recursive: true, verbatimSymlinks: true });
  }
}

function refuseDevDependencies(): void {
  const shipped = ['typescript', 'tsx', 'jest', 'eslint'].filter((name) =>
    existsSync(join(roots.image, 'app', 'node_modules', name)),
  );
  if (shipped.length > 0) throw new Error(`the image has dev dependencies: ${shipped.join(', ')}`);
}

function imageEnvironment(): Record<string, string> {
  const pairs = textsOf(image, 'ENV').flatMap((text) => text.split(/\s+/));
  return Object.fromEntries(pairs.map((pair) => pair.split('=', 2) as [string, string]));
}

function workerCommand(): [string, ...string[]] {
  const compose = parse(readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8')) as {
    services: { worker: { command: [string, ...string[]] } };
  };
  return compose.services.worker.command;
}
