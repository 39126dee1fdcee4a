import type { Topology } from './topology.ts';

/** A worker that has said nothing for this long is gone, or as good as. */
const GONE_MS = 15_000;

/** Which queues of a shard have workers; each says so every few seconds. */
export class WorkerPresence {
  readonly #topology: Topology;

  constructor(topology: Topology) {
    this.#topology = topology;
  }

  /** Says that a worker serves these queues of a shard now. */
  async announce(shard: number, queues: readonly string[], worker: string): Promise<void> {
    const key = this.#topology.keys.workers(shard);
    const now = Date.now();
    await Promise.all([
      this.#topology.redis.zadd(key, ...queues.flatMap((queue) => [now, `${queue} ${worker}`])),
      this.#topology.redis.zremrangebyscore(key, '-inf', now - GONE_MS),
    ]);
  }

  /** Takes back what was announced: the worker ends. */
  async withdraw(shard: number, queues: readonly string[], worker: string): Promise<void> {
    const members = queues.map((queue) => `${queue} ${worker}`);
    await this.#topology.redis.zrem(this.#topology.keys.workers(shard), ...members);
  }

  /** How many workers serve a queue of a shard. */
  async count(shard: number, queue: string): Promise<number> {
    const served = await this.#served(shard);
    return served.filter((each) => each === queue).length;
  }

  /** The queues of a shard that any worker serves. */
  async queues(shard: number): Promise<ReadonlySet<string>> {
    return new Set(await this.#served(shard));
  }

  /** One entry for each queue and worker. */
  async #served(shard: number): Promise<string[]> {
    const key = this.#topology.keys.workers(shard);
    const present = await this.#topology.redis.zrangebyscore(key, Date.now() - GONE_MS, '+inf');
    return present.map((member) => member.split(' ', 1)[0] ?? '');
  }
}
