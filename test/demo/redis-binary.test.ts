import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureRedisBinary } from '../../src/demo/redis-binary.ts';

let bin: string;
let fetchDirectory: string;
let said: string[];

beforeEach(() => {
  const root = mkdtempSync(join(tmpdir(), 'waggle-redis-binary-'));
  bin = join(root, 'bin');
  fetchDirectory = join(root, 'fetched');
  mkdirSync(bin);
  said = [];
});
afterEach(() => {
  rmSync(join(bin, '..'), { recursive: true });
  delete process.env.REDISMS_DOWNLOAD_URL;
});

function script(name: string, ...lines: string[]): string {
  const path = join(bin, name);
  writeFileSync(path, ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
  return path;
}

function ensure(): Promise<string> {
  return ensureRedisBinary({ searchPath: bin, fetchDirectory, say: (line) => said.push(line) });
}

/** A sudo that asks nothing, so that these tests do the same whether or not they run as root. */
function passwordlessSudo(): void {
  script('sudo', '[ "$1" = -n ] || exit 1', 'shift', 'exec "$@"');
}

/** An apt-get that finds packages only after `update`, as in a fresh container, and then installs into `bin`. */
function aptGet(installs: string): void {
  const lists = join(bin, 'lists');
  script(
    'apt-get',
    'PATH=/usr/bin:/bin',
    `[ "$DEBIAN_FRONTEND" = noninteractive ] || exit 1`,
    `if [ "$1" = update ]; then touch ${lists}; exit 0; fi`,
    `[ -f ${lists} ] || exit 100`,
    'for last; do :; done',
    `[ "$last" = ${installs} ] || exit 100`,
    `printf '#!/bin/sh\\n' > ${bin}/${installs}; chmod 755 ${bin}/${installs}`,
  );
}

test('takes redis-server from the search path', async () => {
  script('valkey-server');
  const server = script('redis-server');
  expect(await ensure()).toBe(server);
  expect(said).toEqual([`Redis: using ${server}.`]);
});

test('takes valkey-server where there is no redis-server', async () => {
  const server = script('valkey-server');
  expect(await ensure()).toBe(server);
});

test('passes over a file of that name that cannot be run', async () => {
  writeFileSync(join(bin, 'redis-server'), '', { mode: 0o644 });
  const server = script('valkey-server');
  expect(await ensure()).toBe(server);
});

test.each(['redis-server', 'valkey-server'])('installs %s with the package manager', async (name) => {
  passwordlessSudo();
  aptGet(name);
  expect(await ensure()).toBe(join(bin, name));
  expect(said).toEqual(['Redis: no server found; installing one with apt-get.']);
});

test('takes the server it fetched earlier', async () => {
  const server = script('fetched');
  mkdirSync(join(fetchDirectory, '7.2.11'), { recursive: true });
  writeFileSync(join(fetchDirectory, '7.2.11', 'redis-server'), readFileSync(server), { mode: 0o755 });
  expect(await ensure()).toBe(join(fetchDirectory, '7.2.11', 'redis-server'));
});

// Before the test that fetches: redis-memory-server remembers what it fetched for as long as the process lives.
test('says what to do when nothing works', async () => {
  const download = await serve(undefined);
  try {
    await expect(ensure()).rejects.toThrow(/none on the PATH.*404.*Install redis or valkey/s);
  } finally {
    download.close();
  }
});

test('has redis-memory-server fetch and build one when nothing can be installed', async () => {
  const archive = sourceArchive();
  const download = await serve(archive);
  try {
    const server = await ensure();
    expect(server).toBe(join(fetchDirectory, '7.2.11', 'redis-server'));
    expect(readFileSync(server, 'utf8')).toBe('built\n');
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/redis-memory-server downloads and compiles Redis/);
  } finally {
    download.close();
  }
});

/** The smallest thing redis-memory-server can build: a tarball whose Makefile makes src/redis-server. */
function sourceArchive(): Buffer {
  const source = join(bin, '..', 'redis-source');
  mkdirSync(join(source, 'src'), { recursive: true });
  writeFileSync(
    join(source, 'Makefile'),
    'all:\n\techo built > src/redis-server\n\tchmod 755 src/redis-server\n',
  );
  execFileSync('tar', ['-czf', `${source}.tar.gz`, '-C', join(source, '..'), 'redis-source']);
  return readFileSync(`${source}.tar.gz`);
}

/** Serves `archive` (404 without one) as redis-memory-server's download. */
async function serve(archive: Buffer | undefined): Promise<{ close(): void }> {
  const server = createServer((_, response) => {
    if (!archive) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-length': archive.length }).end(archive);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  process.env.REDISMS_DOWNLOAD_URL = `http://127.0.0.1:${(server.address() as AddressInfo).port}/redis.tar.gz`;
  return { close: () => server.close().closeAllConnections() };
}
