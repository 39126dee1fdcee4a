import { execFile } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RedisBinary } from 'redis-memory-server';

export interface RedisBinaryOptions {
  /** Directories to search, as in the variable PATH, which is the default. */
  searchPath?: string;
  /** Where a fetched server is kept; inside node_modules by default. */
  fetchDirectory?: string;
  /** Takes the one plain line that says which server is used. */
  say?: (line: string) => void;
}

interface Installer {
  command: string;
  needsRoot: boolean;
  /** One of these is installed; the first that the system's release has. */
  packages: string[];
  installArgs: string[];
  /** Run once when no package could be installed, as a fresh container has no package lists. */
  refreshArgs?: string[];
}

const SERVERS = ['redis-server', 'valkey-server'];

/** Where package managers put a server when the caller's PATH does not name the place. */
const SYSTEM_DIRECTORIES = ['/usr/bin', '/usr/local/bin', '/usr/sbin', '/opt/homebrew/bin'];

const INSTALLERS: Installer[] = [
  {
    command: 'apt-get',
    needsRoot: true,
    packages: ['redis-server', 'valkey-server'],
    installArgs: ['install', '-y', '-q', '--no-install-recommends'],
    refreshArgs: ['update', '-q'],
  },
  { command: 'dnf', needsRoot: true, packages: ['valkey', 'redis'], installArgs: ['install', '-y', '-q'] },
  { command: 'apk', needsRoot: true, packages: ['redis', 'valkey'], installArgs: ['add', '--no-cache'] },
  { command: 'brew', needsRoot: false, packages: ['redis', 'valkey'], installArgs: ['install', '--quiet'] },
];

const INSTALL_TIMEOUT_MS = 180_000;

/** The release that is fetched and compiled when nothing is installed: pinned, so that every machine gets the same. */
const FETCHED_VERSION = '7.2.11';
const FETCH_DIRECTORY = fileURLToPath(
  new URL('../../node_modules/.cache/redis-memory-server/', import.meta.url),
);

/**
 * Finds a Redis or Valkey server, or gets one: from the system's package manager where that needs no question (root,
 * or sudo without a password), else through redis-memory-server, which downloads and compiles it once.
 *
 * @returns the path of the executable
 * @throws Error when none of the ways works, with what to do instead
 */
export async function ensureRedisBinary(options: RedisBinaryOptions = {}): Promise<string> {
  const searchPath = options.searchPath ?? process.env.PATH ?? '';
  const say = options.say ?? (() => undefined);
  const directories = searchPath.split(delimiter).filter((directory) => directory !== '');
  const fetchDirectory = options.fetchDirectory ?? FETCH_DIRECTORY;
  const fetched = join(fetchDirectory, FETCHED_VERSION, 'redis-server');

  const found = findServer(directories) ?? (isExecutable(fetched) ? fetched : undefined);
  if (found) {
    say(`Redis: using ${found}.`);
    return found;
  }
  const installed = await installServer(directories, say);
  if (installed) return installed;

  say(
    `Redis: no server found; redis-memory-server downloads and compiles Redis ${FETCHED_VERSION} (minutes, once).`,
  );
  try {
    return await RedisBinary.getPath({ version: FETCHED_VERSION, downloadDir: fetchDirectory });
  } catch (error) {
    const reason = error instanceof Error ? error.message.trim() : String(error);
    throw new Error(
      `No Redis server: none on the PATH, and fetching one failed (${reason}). Install redis or valkey and try again.`,
      { cause: error },
    );
  }
}

function findServer(directories: string[]): string | undefined {
  return SERVERS.flatMap((name) => directories.map((directory) => join(directory, name))).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

async function installServer(
  directories: string[],
  say: (line: string) => void,
): Promise<string | undefined> {
  for (const installer of INSTALLERS) {
    const command = findCommand(installer.command, directories);
    if (!command) continue;
    const prefix = installer.needsRoot ? await rootPrefix(directories) : [];
    if (!prefix) continue;
    say(`Redis: no server found; installing one with ${installer.command}.`);
    const installed = await installWith(installer, [...prefix, command], directories);
    if (installed) return installed;
  }
  return undefined;
}

async function installWith(
  installer: Installer,
  command: string[],
  directories: string[],
): Promise<string | undefined> {
  const installAny = async (): Promise<string | undefined> => {
    for (const name of installer.packages) {
      if (!(await succeeds([...command, ...installer.installArgs, name]))) continue;
      const server = findServer(directories) ?? findServer(SYSTEM_DIRECTORIES);
      if (server) return server;
    }
    return undefined;
  };
  const installed = await installAny();
  if (installed || !installer.refreshArgs) return installed;
  return (await succeeds([...command, ...installer.refreshArgs])) ? installAny() : undefined;
}

/** What to put before a command that needs root: nothing, or sudo where it asks nothing; undefined when neither. */
async function rootPrefix(directories: string[]): Promise<string[] | undefined> {
  if (process.getuid?.() === 0) return [];
  const sudo = findCommand('sudo', directories);
  return sudo && (await succeeds([sudo, '-n', 'true'])) ? [sudo, '-n'] : undefined;
}

function findCommand(name: string, directories: string[]): string | undefined {
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}

function succeeds(command: string[]): Promise<boolean> {
  const [file = '', ...args] = command;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NONINTERACTIVE: '1' };
  return new Promise((resolve) => {
    const child = execFile(file, args, { env, timeout: INSTALL_TIMEOUT_MS }, (error) => resolve(!error));
    child.stdin?.end();
  });
}
