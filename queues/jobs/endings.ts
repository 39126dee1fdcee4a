import { Job } from 'bullmq';
import type { FairQueueBackend } from '../fair/index.ts';
import type { FlowCancellation } from '../flows/cancellation.ts';
import { queueOfJobId } from '../../src/shared/ids.ts';
import { withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';
import type { JobEnvelope } from './envelope.ts';
import { CANCELLED, encodeFailure, EXPIRED } from './failure.ts';
import type { Failure } from './failure.ts';
import type { Retention } from './retention.ts';

export const SUPERSEDED = {
  code: CANCELLED,
  message: 'superseded by a newer job of its key',
  retryable: false,
};
export const NOT_IN_TIME = {
  code: EXPIRED,
  message: 'The job did not start before its time to live was over',
  retryable: false,
};

/** How the end of a job is recorded: false when it is not in a state for that any more. */
type Fail = (backend: FairQueueBackend, job: Job) => Promise<boolean>;

export interface Endings {
  /**
   * Records the jobs of a queue that newer ones of their key, or somebody, have put an end to, 100 of each. Idempotent,
   * and safe beside others.
   * @returns how many were recorded; 0 when there is no more to do
   */
  sweep(shard: number, queue: string): Promise<number>;
  /**
   * Records up to `limit` jobs of a shard as expired whose time to live is over. Idempotent, and safe beside others.
   * @returns how many it looked at: with `limit` there may be more
   */
  expire(shard: number, limit: number): Promise<number>;
}

/**
 * Ends jobs without a worker: those that somebody cancels, that a newer one of their key supersedes, or whose time to
 * live is over. What follows from any end follows from these, too.
 *
 * The scheduler only takes superseded jobs out of the way, in the script that adds the newer one, and only asks running
 * ones to stop. They are recorded here, by whoever asked or, should it die in between, by the next worker that looks.
 */
export class JobEndings implements Endings {
  readonly #topology: Topology;
  readonly #retention: Retention;
  readonly #cancellation: FlowCancellation;

  constructor(topology: Topology, retention: Retention, cancellation: FlowCancellation) {
    this.#topology = topology;
    this.#retention = retention;
    this.#cancellation = cancellation;
  }

  async sweep(shard: number, queue: string): Promise<number> {
    const backend = this.#topology.queue(shard, queue).getBackend();
    const { unstarted, overdue } = await backend.getDueCancels();
    const ended = await Promise.all([
      ...unstarted.map((id) => this.endUnstarted(shard, id, SUPERSEDED)),
      ...overdue.map((id) => this.endOverdue(shard, id)),
    ]);
    return ended.filter(Boolean).length;
  }

  async expire(shard: number, limit: number): Promise<number> {
    return withRedis(async () => {
      const { redis, keys } = this.#topology;
      const ids = await redis.zrangebyscore(keys.ttl(shard), '-inf', Date.now(), 'LIMIT', 0, limit);
      if (ids.length === 0) return 0;
      await Promise.all(ids.map((id) => this.#expireJob(shard, id)));
      await redis.zrem(keys.ttl(shard), ...ids);
      return ids.length;
    });
  }

  /** Records a job that waits, whatever for. @returns false when it does not (any more) */
  endUnstarted(shard: number, id: string, failure: Failure): Promise<boolean> {
    const reason = encodeFailure(failure);
    return this.#end(shard, id, (backend, job) => backend.failWaiting(job, reason));
  }

  /** Records a job that was asked to stop, for the reason it was given then. @returns false when it is not (yet) to go */
  endOverdue(shard: number, id: string): Promise<boolean> {
    return this.#end(shard, id, (backend, job) => backend.failCancelled(job, encodeFailure(SUPERSEDED)));
  }

  #expireJob(shard: number, id: string): Promise<boolean> {
    const reason = encodeFailure(NOT_IN_TIME);
    return this.#end(shard, id, (backend, job) => backend.failWaiting(job, reason, true));
  }

  async #end(shard: number, id: string, fail: Fail): Promise<boolean> {
    const queue = this.#topology.queue(shard, queueOfJobId(id) ?? '');
    const backend = queue.getBackend();
    const json = await backend.getJobData(id);
    if (json === undefined) return false;
    if (!(await fail(backend, Job.fromJSON<JobEnvelope>(queue, json, id)))) return false;
    const { retainMs, flow, tenant } = JSON.parse(json.data) as JobEnvelope;
    const finished = { queue: queue.name, id, finishedAt: Date.now(), retainMs: retainMs.failed };
    await this.#retention.schedule(shard, finished);
    if (flow !== null) await this.#cancellation.run(tenant, flow.id);
    return true;
  }
}
