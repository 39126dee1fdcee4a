import type { Queue, Worker } from 'bullmq';
import { eventually } from '../../support/eventually.ts';
import { Lab, escapeGlob } from './bullmq-lab.ts';
import { HOUR_MS } from './job-moves.ts';
import { QUEUES } from './scheduler-program.ts';

/** The tokens of the workers of a queue, by their index; also their names. */
export const TOKENS = ['t0', 't1'] as const;

/** The queues and workers of one prefix; opened once and used for many programs. */
export class Shard {
  readonly lab = new Lab('fair');
  readonly #queues = new Map<string, Queue>();
  readonly #workers = new Map<string, Worker[]>();
  readonly #metas = new Map<string, Record<string, string>>();

  static async open(): Promise<Shard> {
    const shard = new Shard();
    for (const name of QUEUES) await shard.#open(name);
    return shard;
  }

  async #open(name: string): Promise<void> {
    const queue = this.lab.queue(name);
    const workers = TOKENS.map((token) => this.lab.hand(name, { name: token, lockDuration: HOUR_MS }));
    this.#queues.set(name, queue);
    this.#workers.set(name, workers);
    await Promise.all([queue, ...workers].map((each) => each.waitUntilReady()));
    await Promise.all([queue.getVersion(), this.lab.addFlows([])]);
    const meta = `${this.base(name)}meta`;
    await eventually('the queue is registered', async () => (await this.lab.redis.exists(meta)) === 1);
    this.#metas.set(meta, await this.lab.redis.hgetall(meta));
  }

  queue(name: string): Queue {
    const queue = this.#queues.get(name);
    if (!queue) throw new Error(`${name} is no queue of this shard`);
    return queue;
  }

  worker(name: string, index = 0): Worker {
    const worker = this.#workers.get(name)?.[index];
    if (!worker) throw new Error(`${name} has no worker ${index}`);
    return worker;
  }

  base(name: string): string {
    return `${this.lab.prefix}:${name}:`;
  }

  /** As new, but for what BullMQ writes once when a queue is opened. */
  async clear(): Promise<void> {
    const keys = await this.lab.redis.keys(`${escapeGlob(this.lab.prefix)}:*`);
    if (keys.length > 0) await this.lab.redis.unlink(keys);
    for (const [key, meta] of this.#metas) await this.lab.redis.hset(key, meta);
  }
}
