/**
 * Fetches a newer Redis or Valkey than the system has, to try the project on it:
 *
 *   node --import tsx scripts/newer-redis.ts [redis|valkey] [Debian suite; sid]
 *   TEST_REDIS_BINARY=<the path it prints> npm test -- test/queues
 *
 * It takes Debian's package and the libraries it was built against, libc included, and unpacks them into a folder of
 * their own: nothing is installed, and the system's package sources stay as they are. Needs apt-get and dpkg-deb.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../node_modules/.cache/redis-servers/', import.meta.url));
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const TIMEOUT_MS = 180_000;

const [product = 'redis', suite = 'sid'] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'waggle-redis-'));
try {
  process.stdout.write(`${unpack(download())}\n`);
} catch (error) {
  const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
  process.stderr.write(`No ${product} of Debian ${suite} could be fetched: ${reason}\n`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The package and all it needs, as for a system on which nothing is installed. @returns the paths of the archives */
function download(): string[] {
  for (const path of ['lists/partial', 'cache/archives/partial']) {
    mkdirSync(join(folder, path), { recursive: true });
  }
  const sources = `deb [signed-by=${KEYRING}] http://deb.debian.org/debian ${suite} main\n`;
  writeFileSync(join(folder, 'sources.list'), sources);
  writeFileSync(join(folder, 'status'), '');
  const options = {
    'Dir::Etc::sourcelist': join(folder, 'sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::State::lists': join(folder, 'lists'),
    'Dir::State::status': join(folder, 'status'),
    'Dir::Cache': join(folder, 'cache'),
    'APT::Sandbox::User': '',
    'Acquire::Languages': 'none',
  };
  const aptGet = (...words: string[]): void => {
    const settings = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    execFileSync('apt-get', [...settings, '-q', '-y', ...words], { stdio: 'pipe', timeout: TIMEOUT_MS });
  };
  aptGet('update');
  // Debian keeps the server's program in the package of the tools.
  aptGet('install', '--download-only', '--no-install-recommends', `${product}-tools`);
  const archives = join(folder, 'cache/archives');
  return readdirSync(archives)
    .filter((name) => name.endsWith('.deb'))
    .map((name) => join(archives, name));
}

/** @returns the path of a command that runs the server */
function unpack(archives: string[]): string {
  const version = archives.map((path) => versionOf(path)).find(Boolean);
  if (version === undefined) throw new Error('the package was not among those that came');
  const target = join(CACHE, `${product}-${version}`);
  const command = join(target, `${product}-server`);
  if (existsSync(command)) return command;
  const root = join(target, 'root');
  mkdirSync(root, { recursive: true });
  for (const archive of archives) execFileSync('dpkg-deb', ['-x', archive, root], { timeout: TIMEOUT_MS });
  writeFileSync(command, launcher(root));
  chmodSync(command, 0o755);
  execFileSync(command, ['--version'], { stdio: 'pipe', timeout: TIMEOUT_MS });
  return command;
}

/** `redis-tools_5%3a8.0.6-3_amd64.deb` is 8.0.6. */
function versionOf(archive: string): string | undefined {
  return new RegExp(`/${product}-tools_(?:\\d+%3a)?([\\d.]+)`).exec(archive)?.[1];
}

/** The program must not meet the system's libc, which is older, so it starts through the loader of its own. */
function launcher(root: string): string {
  const paths = readdirSync(root, { recursive: true, encoding: 'utf8' });
  const libc = paths.find((path) => path.endsWith('/libc.so.6'));
  const libraries = join(root, libc ?? '', '..');
  const loader = readdirSync(libraries).find((name) => /^ld-linux.*\.so\.\d+$/.test(name));
  if (libc === undefined || loader === undefined) throw new Error('no libc came with the package');
  const program = join(root, 'usr/bin', `${product}-check-rdb`);
  // The program is server and tools in one, and goes by the name it is called by.
  return `#!/bin/sh
exec '${join(libraries, loader)}' --argv0 '${product}-server' --library-path '${libraries}' '${program}' "$@"
`;
}
