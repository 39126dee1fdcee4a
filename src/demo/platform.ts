import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Child, freePorts, untilReady } from './processes.ts';

export const SHARDS = 4;
export const WORKERS = 2;
export const SLOTS_PER_WORKER = 10;

/** A machine with a lot to do takes long to start Node and compile everything. */
const READY_MS = 60_000;
const DRAIN_MS = 2000;
const STOP_GRACE_MS = 3000;

export interface PlatformOptions {
  redisUrl: string;
  /** An existing folder for the logs of the processes. */
  logFolder: string;
  signal: AbortSignal;
  onDeath: (child: Child, how: string) => void;
}

/** One API process and two worker processes on one Redis. */
export class Platform {
  readonly url: string;
  readonly adminToken: string;
  readonly #options: PlatformOptions;
  readonly #workerPorts: number[];
  readonly #api: Child;
  #workers: Child[] = [];

  /** Starts the processes on these ports; {@link untilReady} tells when they can be used. */
  constructor(options: PlatformOptions, apiPort: number, workerPorts: number[]) {
    this.#options = options;
    this.#workerPorts = workerPorts;
    this.url = `http://127.0.0.1:${apiPort}`;
    this.adminToken = randomBytes(24).toString('base64url');
    const env = { PORT: String(apiPort), WAGGLE_ADMIN_TOKEN: this.adminToken };
    this.#api = this.#startChild('api', 'src/main', env);
    this.#launchWorkers();
  }

  /** Starts the processes on free ports. */
  static async launch(options: PlatformOptions): Promise<Platform> {
    const [apiPort = 0, ...workerPorts] = await freePorts(1 + WORKERS);
    return new Platform(options, apiPort, workerPorts);
  }

  /** @throws Error when a process is not ready in time; the reason of the signal */
  async untilReady(): Promise<void> {
    const { signal } = this.#options;
    await Promise.all([
      untilReady('the API', `${this.url}/readyz`, READY_MS, signal),
      ...this.#workerPorts.map((port, index) =>
        untilReady(`worker ${index + 1}`, `http://127.0.0.1:${port}/readyz`, READY_MS, signal),
      ),
    ]);
  }

  /** Drains the workers and resolves when they are gone. */
  async stopWorkers(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.stop(STOP_GRACE_MS)));
  }

  async restartWorkers(): Promise<void> {
    this.#launchWorkers();
    await this.untilReady();
  }

  /** Ends everything and resolves when it is gone: the workers first, as long as there is an API to look at them. */
  async stop(): Promise<void> {
    await this.stopWorkers();
    await this.#api.stop(STOP_GRACE_MS);
  }

  /** Kills everything without asking. */
  kill(): void {
    for (const child of [this.#api, ...this.#workers]) child.kill();
  }

  #launchWorkers(): void {
    this.#workers = this.#workerPorts.map((port, index) =>
      this.#startChild(`worker-${index + 1}`, 'workers/main', {
        WORKER_PORT: String(port),
        WORKER_CONCURRENCY: String(SLOTS_PER_WORKER),
        WORKER_DRAIN_MS: String(DRAIN_MS),
      }),
    );
  }

  #startChild(name: string, entry: string, env: Record<string, string>): Child {
    const { redisUrl, logFolder, onDeath } = this.#options;
    return new Child({
      name,
      entry,
      env: { REDIS_URL: redisUrl, WAGGLE_SHARDS: String(SHARDS), LOG_LEVEL: 'info', ...env },
      logPath: join(logFolder, `${name}.log`),
      onDeath,
    });
  }
}
