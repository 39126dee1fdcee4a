import { Shares } from '../../queues/overall/shares.ts';
import type { Balancing } from '../../queues/overall/types.ts';
import { isRedisUnavailable } from '../../queues/topology/redis-errors.ts';
import type { RedisConnection } from '../../queues/topology/connections.ts';
import { WaggleError } from '../../src/shared/errors.ts';
import type { Logger } from '../../src/shared/logger.ts';

export interface LimitBalancerOptions {
  overall: Balancing;
  /** Hears of changes; it subscribes, and stays the caller's. */
  subscriber: RedisConnection;
  /** Names this process among those that could balance. */
  owner: string;
  /** How many there are; one has nobody to share with. */
  shards: number;
  logger: Logger;
}

const ROUND_MS = 200;
/** With one shard there is only to mend what a caller left undone who died. */
const LONE_ROUND_MS = 2000;
/** While a unit comes free as a job ends, it is looked for soon, and less often when it takes long. */
const DRAINING_MS = 25;
const LEASE_MS = 2000;
/** Another one balances; should it die, somebody takes over within this and the lease. */
const STANDBY_MS = 1000;
/** Without limits nobody is asked. Changes are heard of; this is for those that were told while nobody listened. */
const UNLIMITED_MS = 10_000;
const ERROR_MS = 1000;

/**
 * Keeps the parts right that the shards have of limits of whole queues and tasks: units go where jobs wait for them. One
 * worker at a time does that, by a lease; a fencing number, which every shard has seen, shuts out one that has lost it
 * without knowing. While there are no such limits it costs nothing.
 */
export class LimitBalancer {
  readonly #options: LimitBalancerOptions;
  readonly #shares = new Shares();
  #fence: number | null = null;
  /** On a clock that never jumps. */
  #renewAt = 0;
  #drainingRounds = 0;
  #stopped = false;
  #wake: () => void = () => undefined;
  #loop: Promise<void> | null = null;

  constructor(options: LimitBalancerOptions) {
    this.#options = options;
  }

  start(): void {
    const { subscriber, overall, logger } = this.#options;
    subscriber.on('message', (channel: string) => {
      if (channel === overall.channel) this.#wake();
    });
    // ioredis subscribes again after every reconnection.
    subscriber.subscribe(overall.channel).catch((error: unknown) => {
      logger.warn({ err: error }, 'not listening for changes of limits');
    });
    this.#loop ??= this.#run();
  }

  /** Lets another worker balance. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#loop;
    if (this.#fence !== null)
      await this.#options.overall.dropLease(this.#options.owner).catch(() => undefined);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const pauseMs = await this.#round().catch((error: unknown) => this.#failed(error));
      await this.#woken(pauseMs);
    }
  }

  /** @returns in how many ms to look again */
  async #round(): Promise<number> {
    const { overall, shards } = this.#options;
    if (this.#fence === null && !(await overall.isNeeded())) return UNLIMITED_MS;
    if (!(await this.#hasLease())) return STANDBY_MS;
    this.#fence ??= await overall.takeOver();
    const round = await overall.balance(this.#fence, this.#shares);
    this.#drainingRounds = round === 'draining' ? this.#drainingRounds + 1 : 0;
    // Another one, or the API with a change, has taken over; then its work is done by now.
    if (round === 'stale' || !(await overall.isNeeded())) this.#fence = null;
    const roundMs = shards === 1 ? LONE_ROUND_MS : ROUND_MS;
    return round === 'draining' ? Math.min(DRAINING_MS * 2 ** this.#drainingRounds, roundMs) : roundMs;
  }

  async #hasLease(): Promise<boolean> {
    const { overall, owner } = this.#options;
    const now = performance.now();
    if (this.#fence !== null && now < this.#renewAt) return true;
    this.#renewAt = now + LEASE_MS / 2;
    if (await overall.holdLease(owner, LEASE_MS)) return true;
    this.#fence = null;
    return false;
  }

  #failed(error: unknown): number {
    this.#fence = null;
    const level = isRedisUnavailable(error) || error instanceof WaggleError ? 'debug' : 'warn';
    this.#options.logger[level]({ err: error }, 'limits could not be balanced');
    return ERROR_MS;
  }

  #woken(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake(), limitMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#stopped) this.#wake();
    });
  }
}
