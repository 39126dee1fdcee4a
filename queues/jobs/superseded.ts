import { Job } from 'bullmq';
import type { FlowCancellation } from '../flows/cancellation.ts';
import type { WaggleQueue } from '../topology/backend.ts';
import type { Topology } from '../topology/topology.ts';
import type { JobEnvelope } from './envelope.ts';
import { CANCELLED, encodeFailure } from './failure.ts';
import type { Retention } from './retention.ts';

export const SUPERSEDED = {
  code: CANCELLED,
  message: 'superseded by a newer job of its key',
  retryable: false,
};

export interface Superseded {
  /**
   * Records the jobs of a queue that newer ones of their key have put an end to. Idempotent, and safe beside others.
   * @returns how many were recorded
   */
  sweep(shard: number, queue: string): Promise<number>;
}

/**
 * The scheduler only takes superseded jobs out of the way, in the script that adds the newer one; what follows from a
 * job's end is recorded here, by whoever added that job or, should it die in between, by the next worker that looks.
 */
export class SupersededJobs implements Superseded {
  readonly #topology: Topology;
  readonly #retention: Retention;
  readonly #cancellation: FlowCancellation;

  constructor(topology: Topology, retention: Retention, cancellation: FlowCancellation) {
    this.#topology = topology;
    this.#retention = retention;
    this.#cancellation = cancellation;
  }

  async sweep(shard: number, name: string): Promise<number> {
    const queue = this.#topology.queue(shard, name);
    const backend = queue.getBackend();
    const { unstarted, overdue } = await backend.getDueCancels();
    const reason = encodeFailure(SUPERSEDED);
    const ended = await Promise.all([
      ...unstarted.map((id) => this.#end(shard, queue, id, (job) => backend.failWaiting(job, reason))),
      ...overdue.map((id) => this.#end(shard, queue, id, (job) => backend.failCancelled(job, reason))),
    ]);
    return ended.filter(Boolean).length;
  }

  async #end(
    shard: number,
    queue: WaggleQueue,
    id: string,
    fail: (job: Job) => Promise<boolean>,
  ): Promise<boolean> {
    const json = await queue.getBackend().getJobData(id);
    if (json === undefined) return false;
    if (!(await fail(Job.fromJSON<JobEnvelope>(queue, json, id)))) return false;
    const { retainMs, flow, tenant } = JSON.parse(json.data) as JobEnvelope;
    const finished = { queue: queue.name, id, finishedAt: Date.now(), retainMs: retainMs.failed };
    await this.#retention.schedule(shard, finished);
    if (flow !== null) await this.#cancellation.run(tenant, flow.id);
    return true;
  }
}
