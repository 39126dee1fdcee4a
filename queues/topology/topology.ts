import { Queue } from 'bullmq';
import type { Logger } from '../../src/shared/logger.ts';
import { createWaggleBackend, WaggleFlowProducer } from './backend.ts';
import type { WaggleQueue } from './backend.ts';
import type { RedisConnection } from './connections.ts';
import type { Keys } from './keys.ts';
import { redisUnavailable } from './redis-errors.ts';
import { shardOf } from './shard-of.ts';

/** Queues that stay open, at some 10 KB each: callers may make up any number of names. */
const MAX_OPEN_QUEUES = 2000;

/** The shards, and the BullMQ queues of this process: all of them over one connection. */
export class Topology {
  readonly shards: number;
  readonly keys: Keys;
  /** The connection for calls that must answer soon. */
  readonly redis: RedisConnection;
  readonly #logger: Logger;
  readonly #queues = new Map<string, WaggleQueue>();
  readonly #flowProducers = new Map<number, WaggleFlowProducer>();
  readonly #registered = new Set<string>();
  readonly #maxOpen: number;

  constructor(options: {
    redis: RedisConnection;
    shards: number;
    keys: Keys;
    logger: Logger;
    maxOpen?: number;
  }) {
    this.redis = options.redis;
    this.shards = options.shards;
    this.keys = options.keys;
    this.#logger = options.logger;
    this.#maxOpen = options.maxOpen ?? MAX_OPEN_QUEUES;
  }

  /** The shard of everything a tenant owns. */
  shardOf(tenant: string): number {
    return shardOf(tenant, this.shards);
  }

  /** The BullMQ prefix of a shard. */
  prefix(shard: number): string {
    return this.keys.prefix(shard);
  }

  /** Whether the queue is open in this process: opening one writes to Redis, so who only looks for a job asks before. */
  isOpen(shard: number, name: string): boolean {
    return this.#queues.has(queueKey(shard, name));
  }

  /**
   * The queue `name` in a shard.
   * @throws WaggleError redis_unavailable
   */
  queue(shard: number, name: string): WaggleQueue {
    this.assertConnected();
    const key = queueKey(shard, name);
    const known = this.#queues.get(key);
    if (known) {
      // The one that was asked for least lately comes first.
      this.#queues.delete(key);
      this.#queues.set(key, known);
      return known;
    }
    const queue = this.#openQueue(shard, name);
    this.#queues.set(key, queue);
    // A queue whose first contact failed stays broken for ever, so the next caller gets a new one.
    queue.waitUntilReady().catch(() => {
      if (this.#queues.get(key) === queue) this.#queues.delete(key);
    });
    this.#closeOldest();
    return queue;
  }

  /** @throws WaggleError redis_unavailable */
  flowProducer(shard: number): WaggleFlowProducer {
    this.assertConnected();
    const known = this.#flowProducers.get(shard);
    if (known) return known;
    const producer = new WaggleFlowProducer(this.#queueOptions(shard), createWaggleBackend);
    producer.on('error', (error: Error) => this.#logger.debug({ err: error, shard }, 'flow producer'));
    this.#flowProducers.set(shard, producer);
    producer.waitUntilReady().catch(() => this.#flowProducers.delete(shard));
    return producer;
  }

  /** Every queue that was ever enqueued to, sorted. */
  async queueNames(): Promise<string[]> {
    return (await this.redis.smembers(this.keys.queues)).sort();
  }

  /** Makes a queue known to {@link queueNames}; costs a round trip once per process and queue. */
  async register(name: string): Promise<void> {
    if (this.#registered.has(name)) return;
    await this.redis.sadd(this.keys.queues, name);
    if (this.#registered.size >= this.#maxOpen) this.#registered.clear();
    this.#registered.add(name);
  }

  /** @throws WaggleError redis_unavailable, at once, where a command could only fail */
  assertConnected(): void {
    const { status } = this.redis;
    if (status !== 'ready' && status !== 'connect') throw redisUnavailable();
  }

  /** Closes the queues; the connection is the caller's. */
  async close(): Promise<void> {
    const open = [...this.#queues.values(), ...this.#flowProducers.values()];
    this.#queues.clear();
    this.#flowProducers.clear();
    await Promise.allSettled(open.map((one) => one.close()));
  }

  /** The connection is that of all, so a call of the closed one that is under way still ends. */
  #closeOldest(): void {
    const [oldest] = this.#queues;
    if (oldest === undefined || this.#queues.size <= this.#maxOpen) return;
    const [key, queue] = oldest;
    this.#queues.delete(key);
    queue.close().catch((error: unknown) => this.#logger.debug({ err: error, queue: queue.name }, 'queue'));
  }

  #openQueue(shard: number, name: string): WaggleQueue {
    const queue: WaggleQueue = new Queue(name, this.#queueOptions(shard), createWaggleBackend);
    // The connection reports its own errors; without a listener they would end the process.
    queue.on('error', (error: Error) => this.#logger.debug({ err: error, queue: name, shard }, 'queue'));
    return queue;
  }

  #queueOptions(shard: number): {
    prefix: string;
    connection: RedisConnection;
    skipWaitingForReady: boolean;
  } {
    // Else a queue opened while Redis is away would hold its caller until Redis is back.
    return { prefix: this.prefix(shard), connection: this.redis, skipWaitingForReady: true };
  }
}

function queueKey(shard: number, name: string): string {
  return `${shard} ${name}`;
}
