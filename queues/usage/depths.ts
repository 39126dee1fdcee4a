import type { WorkerPresence } from '../topology/presence.ts';
import type { Topology } from '../topology/topology.ts';

/** What a queue holds, over all shards. */
export interface QueueDepth {
  queue: string;
  /** Jobs by state, as in the contract; finished ones are those that are still kept. */
  jobs: Record<DepthState, number>;
  /** Tenants with waiting jobs: those whose next one may run, and those that limits hold back. */
  tenants: { runnable: number; held: number };
  /** How long the longest waiting has been due, in ms; null when none waits. */
  oldestMs: number | null;
}

const STATES = ['active', 'delayed', 'waiting-children', 'completed', 'failed'] as const;
export type DepthState = 'waiting' | (typeof STATES)[number];

/** Any tenant may name a queue, and whoever watches must not drown in them. */
const MAX_QUEUES = 50;
/** Queues times shards: each costs Redis some 20 calls, and more where a look is given more groups. */
const MAX_LOOKS = 200;
/** The samples of all looks together, by which the longest wait is found (see `getLine`); one at least in each. */
const SAMPLES = 64;
const SAMPLE_AT_MOST = 8;

/** Looks into the queues of all shards, for those who watch the whole. */
export class QueueDepths {
  readonly #topology: Topology;
  readonly #presence: WorkerPresence;

  constructor(topology: Topology, presence: WorkerPresence) {
    this.#topology = topology;
    this.#presence = presence;
  }

  /** At most 50 queues, fewer over many shards: those with workers, then others by name. The cost does not depend on how much they hold. */
  async read(): Promise<QueueDepth[]> {
    const [names, ...served] = await Promise.all([
      this.#topology.queueNames(),
      ...this.#shards().map((shard) => this.#presence.queues(shard)),
    ]);
    const most = Math.max(1, Math.min(MAX_QUEUES, Math.floor(MAX_LOOKS / this.#topology.shards)));
    const queues = [...new Set([...served.flatMap((some) => [...some]), ...names])].slice(0, most);
    const share = Math.floor(SAMPLES / (queues.length * this.#topology.shards));
    const sample = Math.max(1, Math.min(SAMPLE_AT_MOST, share));
    return Promise.all(queues.map((queue) => this.#depth(queue, sample)));
  }

  async #depth(queue: string, sample: number): Promise<QueueDepth> {
    const all = await Promise.all(this.#shards().map((shard) => this.#inShard(shard, queue, sample)));
    const sum = (of: (depth: QueueDepth) => number): number =>
      all.reduce((total, depth) => total + of(depth), 0);
    const ages = all.flatMap(({ oldestMs }) => (oldestMs === null ? [] : [oldestMs]));
    return {
      queue,
      jobs: {
        waiting: sum(({ jobs }) => jobs.waiting),
        active: sum(({ jobs }) => jobs.active),
        delayed: sum(({ jobs }) => jobs.delayed),
        'waiting-children': sum(({ jobs }) => jobs['waiting-children']),
        completed: sum(({ jobs }) => jobs.completed),
        failed: sum(({ jobs }) => jobs.failed),
      },
      tenants: { runnable: sum(({ tenants }) => tenants.runnable), held: sum(({ tenants }) => tenants.held) },
      oldestMs: ages.length === 0 ? null : Math.max(...ages),
    };
  }

  #shards(): number[] {
    return Array.from({ length: this.#topology.shards }, (_, shard) => shard);
  }

  async #inShard(shard: number, queue: string, sample: number): Promise<QueueDepth> {
    const opened = this.#topology.queue(shard, queue);
    const [counts, { oldestMs, ...tenants }] = await Promise.all([
      opened.getJobCounts('wait', 'prioritized', ...STATES),
      opened.getBackend().getLine(sample),
    ]);
    const of = (state: string): number => counts[state] ?? 0;
    return {
      queue,
      jobs: {
        waiting: of('wait') + of('prioritized'),
        active: of('active'),
        delayed: of('delayed'),
        'waiting-children': of('waiting-children'),
        completed: of('completed'),
        failed: of('failed'),
      },
      tenants,
      oldestMs,
    };
  }
}
