import { RedisMemoryServer } from 'redis-memory-server';
import { ensureRedisBinary } from './redis-binary.ts';
import { endWithThisProcess } from './watchdog.ts';

export interface EmbeddedRedisOptions {
  /** Port to listen on; a random free one by default. */
  port?: number;
  /** Further redis-server arguments; they come last and so override the defaults (no persistence, noeviction). */
  extraArgs?: string[];
  /** Added to the server's environment. */
  env?: NodeJS.ProcessEnv;
  /** Takes the one plain line that says which server is used; nothing is printed by default. */
  say?: (line: string) => void;
}

export interface EmbeddedRedis {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Ends the server and resolves when it is gone. May be called any number of times. */
  stop(): Promise<void>;
}

/**
 * Starts a real Redis (or Valkey) server process bound to 127.0.0.1, without persistence.
 *
 * The server never outlives this process, however it ends: a watchdog reads from a pipe whose other end only this
 * process holds, and ends the server when the pipe closes. Server and watchdog are in process groups of their own, so
 * Ctrl-C in a terminal reaches the caller alone, which can still drain against a living Redis.
 *
 * @throws Error when no server can be found or fetched, or when `port` is taken
 */
export async function startEmbeddedRedis(options: EmbeddedRedisOptions = {}): Promise<EmbeddedRedis> {
  const binary = await ensureRedisBinary(options.say ? { say: options.say } : {});
  const wantedPort = options.port === undefined ? [] : ['--port', String(options.port)];
  const server = new RedisMemoryServer({
    binary: { systemBinary: binary },
    instance: {
      ip: '127.0.0.1',
      // A wanted port goes here and not into `port`: redis-memory-server takes another one, silently, when that is in
      // use or was in use a few seconds ago.
      args: ['--maxmemory-policy', 'noeviction', ...wantedPort, ...(options.extraArgs ?? [])],
    },
    spawn: { detached: true, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.env } },
  });
  const running = await server.ensureInstance().catch((error: unknown) => {
    const where = options.port === undefined ? '' : ` on port ${options.port} (is it in use?)`;
    throw new Error(`${binary} could not be started${where}`, { cause: error });
  });
  const port = options.port ?? running.port;
  const pid = running.instance.getPid();
  if (pid === undefined) throw new Error(`${binary} has no process id`);
  const callOffWatchdog = endWithThisProcess(pid);
  let stopped: Promise<void> | undefined;
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    pid,
    stop: () => (stopped ??= server.stop().then(callOffWatchdog)),
  };
}
