import { blockingClientId, unblockClient } from '../../queues/topology/blocking.ts';
import { isCluster } from '../../queues/topology/connections.ts';
import type { RedisConnection } from '../../queues/topology/connections.ts';
import type { Logger } from '../../src/shared/logger.ts';

/** A marker that was taken from its key: member `0` says there is work now, `1` says it is due at `score` (ms epoch). */
export interface Marker {
  key: string;
  member: string;
  score: number;
}

export interface DoorbellOptions {
  /** A connection of its own: it blocks. It must not resend a command whose connection was lost. */
  blocking: RedisConnection;
  /** The command connection; it unblocks the other one and puts markers back. */
  commands: RedisConnection;
  /** The marker keys to listen at, as of now; in a cluster those of one slot. */
  listenTo: () => readonly string[];
  /** Takes a marker; false when there was no room, which puts the marker back for another process. */
  onRing: (marker: Marker) => boolean;
  logger: Logger;
}

const BLOCK_SECONDS = 5;
/** A reply later than this means a connection that is dead without saying so. */
const DEAF_AFTER_MS = BLOCK_SECONDS * 1000 + 2000;
const UNBLOCK_RETRY_MS = 20;
const ERROR_PAUSE_MS = 100;

/**
 * Listens for work in all idle sources at once: one BZPOPMIN over their marker keys. Only idle sources are listened to,
 * for the marker of a busy one is nearly always there and would be taken in a loop.
 *
 * Taking a marker takes the news away from every other process. So whoever took one must look into that source, and
 * puts the marker back when it has no room.
 */
export class Doorbell {
  readonly #options: DoorbellOptions;
  #stopped = false;
  #listening: ReadonlySet<string> | null = null;
  #unblocking = false;
  #clientId: number | null = null;
  #wake: () => void = () => undefined;
  #loop: Promise<void> | null = null;

  constructor(options: DoorbellOptions) {
    this.#options = options;
    const { blocking } = options;
    blocking.on('close', () => {
      this.#clientId = null;
      this.#wake();
    });
    blocking.on('ready', () => this.#wake());
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** To be called when `listenTo` may give another answer. */
  changed(): void {
    if (this.#listening === null) return this.#wake();
    const heard = this.#listening;
    if (this.#options.listenTo().some((key) => !heard.has(key))) void this.#unblock();
  }

  /** Tells every process that the source of this marker key has work now. */
  ring(key: string): void {
    void this.#putBack({ key, member: '0', score: 0 });
  }

  /** Ends listening. A marker that was taken meanwhile is put back. Does not close the connections. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    if (this.#listening !== null) void this.#unblock();
    await this.#loop;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const keys = this.#options.listenTo();
      if (keys.length === 0 || this.#options.blocking.status !== 'ready') {
        await this.#woken();
        continue;
      }
      const marker = await this.#listen(keys);
      if (marker && (this.#stopped || !this.#options.onRing(marker))) await this.#putBack(marker);
    }
  }

  async #listen(keys: readonly string[]): Promise<Marker | null> {
    this.#listening = new Set(keys);
    const gone = this.#gone();
    try {
      const { blocking } = this.#options;
      // In a cluster the keys may be another node's by now.
      if (this.#clientId === null || isCluster(blocking))
        this.#clientId = await Promise.race([blockingClientId(blocking, keys[0] ?? ''), gone.promise]);
      const reply = blocking.bzpopmin(...keys, BLOCK_SECONDS);
      // A command whose connection went away may settle late or never.
      reply.catch(() => undefined);
      const [key, member, score] = (await Promise.race([reply, gone.promise])) ?? [];
      if (key === undefined || member === undefined) return null;
      return { key, member, score: Number(score) };
    } catch (error) {
      if (this.#stopped) return null;
      this.#options.logger.debug({ err: error }, 'listening for work was interrupted');
      await this.#woken(ERROR_PAUSE_MS);
      return null;
    } finally {
      gone.forget();
      this.#listening = null;
    }
  }

  /** Resolves when the connection is lost while blocked, or has been silent for too long. */
  #gone(): { promise: Promise<null>; forget: () => void } {
    const { blocking } = this.#options;
    let forget = (): void => undefined;
    const promise = new Promise<null>((resolve) => {
      const lost = (): void => resolve(null);
      const timer = setTimeout(() => {
        blocking.disconnect(true);
        lost();
      }, DEAF_AFTER_MS);
      blocking.once('close', lost);
      forget = () => {
        clearTimeout(timer);
        blocking.off('close', lost);
      };
    });
    return { promise, forget };
  }

  /** Ends the block, so that the loop listens to the keys of now. */
  async #unblock(): Promise<void> {
    if (this.#unblocking) return;
    this.#unblocking = true;
    try {
      const blocked = this.#listening;
      while (blocked !== null && this.#listening === blocked && this.#options.blocking.status === 'ready') {
        const [key = ''] = blocked;
        if (this.#clientId !== null && (await unblockClient(this.#options.commands, key, this.#clientId)))
          break;
        // Not blocked: the command is still on its way there, or its reply on the way back.
        await new Promise((resolve) => setTimeout(resolve, UNBLOCK_RETRY_MS));
      }
      this.#unblocking = false;
      // The next block may have begun, and missed a change, while this one was being ended.
      if (this.#listening !== blocked) this.changed();
    } catch (error) {
      // Without CLIENT UNBLOCK news of a source comes up to BLOCK_SECONDS later.
      this.#unblocking = false;
      if (!this.#stopped) this.#options.logger.debug({ err: error }, 'CLIENT UNBLOCK failed');
    }
  }

  async #putBack({ key, member, score }: Marker): Promise<void> {
    // LT: a marker for sooner work that came meanwhile stays.
    await this.#options.commands.zadd(key, 'LT', score, member).catch((error: unknown) => {
      this.#options.logger.debug({ err: error, key }, 'a marker could not be put back');
    });
  }

  #woken(limitMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = limitMs === undefined ? undefined : setTimeout(() => this.#wake(), limitMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#stopped) this.#wake();
    });
  }
}
