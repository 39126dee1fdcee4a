import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ensureRedisBinary } from '../src/demo/redis-binary.ts';
import { endWithThisProcess } from '../src/demo/watchdog.ts';
import { connectTo } from './workload.ts';

export interface CountedRedis {
  readonly port: number;
  /** Instructions of the server since this was last asked for. */
  readonly take: () => Promise<number>;
}

const run = promisify(execFile);

/**
 * Runs `body` against a Redis under valgrind, which counts what the server executes (its own code and its libraries', not
 * the kernel's). That is some fifty times slower, and the same on a busy machine as on a quiet one.
 * @throws Error when there is no valgrind
 */
export async function withCountedRedis<T>(body: (redis: CountedRedis) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'waggle-instructions-'));
  const [file, port] = [join(folder, 'counts'), await freePort()];
  const server = spawn(
    'valgrind',
    ['--tool=callgrind', `--callgrind-out-file=${file}`, await ensureRedisBinary()].concat([
      ...['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--maxmemory-policy', 'noeviction'],
    ]),
    { stdio: 'ignore', cwd: folder },
  );
  await once(server, 'spawn');
  const callOffWatchdog = endWithThisProcess(Number(server.pid));
  let dumps = 0;
  const take = async (): Promise<number> => {
    await run('callgrind_control', ['-d', String(server.pid)]);
    dumps += 1;
    const counts = await readFile(`${file}.${dumps}`, 'utf8');
    return Number(/^(?:summary|totals): (\d+)/m.exec(counts)?.[1]);
  };
  try {
    const redis = connectTo(port);
    // It takes a second until the server listens; the client asks again until then.
    redis.on('error', () => undefined);
    await redis.ping();
    redis.disconnect();
    return await body({ port, take });
  } finally {
    server.kill('SIGKILL');
    await callOffWatchdog();
    await rm(folder, { recursive: true });
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  return port;
}
