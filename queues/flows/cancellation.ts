import { Job } from 'bullmq';
import type { FlowNodeRecord, JobEnvelope } from '../jobs/envelope.ts';
import { CANCELLED, encodeFailure } from '../jobs/failure.ts';
import type { JobReader } from '../jobs/reader.ts';
import type { Retention } from '../jobs/retention.ts';
import { isFinished } from '../jobs/view.ts';
import type { StoredJob } from '../jobs/view.ts';
import type { Topology } from '../topology/topology.ts';

const CHILD_FAILED = encodeFailure({
  code: 'child_failed',
  message: 'a child of this node failed for good',
  retryable: false,
});
const NOT_NEEDED = encodeFailure({
  code: CANCELLED,
  message: 'the flow failed before this node started',
  retryable: false,
});

type States = Map<string, StoredJob>;

/**
 * Ends what a failure in a flow made pointless, so that no node waits for ever:
 *
 * 1. A node that BullMQ marked for failure because of a child fails now, without waiting for a worker of its queue; its
 *    own parent may be marked by that, and so on up to the root.
 * 2. Whatever has not started below a node that has ended is cancelled, from the top down: a node is recorded before
 *    its children are, so no child's end can release it.
 *
 * Each node changes in one script that does nothing for a job which is active or finished. So it may run any number of
 * times, and beside workers; what a worker takes in between ends by that worker, which calls this again.
 */
export class FlowCancellation {
  readonly #topology: Topology;
  readonly #reader: JobReader;
  readonly #retention: Retention;

  constructor(topology: Topology, reader: JobReader, retention: Retention) {
    this.#topology = topology;
    this.#reader = reader;
    this.#retention = retention;
  }

  /** @returns how many nodes were ended */
  async run(tenant: string, flowId: string): Promise<number> {
    const root = await this.#reader.find(tenant, flowId);
    const nodes = root?.envelope.nodes ?? [];
    const states = await this.#states(tenant, nodes);
    const doomed = await this.#failDoomed(tenant, nodes, states);
    return doomed + (await this.#cancelBelowEnded(nodes, states));
  }

  async #states(tenant: string, nodes: FlowNodeRecord[]): Promise<States> {
    const jobs = await Promise.all(nodes.map((node) => this.#reader.find(tenant, node.id)));
    return new Map(jobs.flatMap((job) => (job === null ? [] : [[job.id, job] as const])));
  }

  async #failDoomed(tenant: string, nodes: FlowNodeRecord[], states: States): Promise<number> {
    let failed = 0;
    // From the leaves up: failing a node may mark its parent, which comes later in this order.
    for (const node of [...nodes].reverse()) {
      const before = states.get(node.id);
      if (before === undefined || node.children.length === 0 || hasStarted(before)) continue;
      const job = failed === 0 ? before : await this.#reader.find(tenant, node.id);
      if (job === null || job.json.deferredFailure === undefined) continue;
      if (!(await this.#end(job, CHILD_FAILED))) continue;
      failed += 1;
      states.set(node.id, { ...job, state: 'failed' });
    }
    return failed;
  }

  async #cancelBelowEnded(nodes: FlowNodeRecord[], states: States): Promise<number> {
    const ids = new Map(nodes.map((node) => [node.name, node.id]));
    let cancelled = 0;
    for (const node of nodes) {
      const job = states.get(node.id);
      const parent = states.get(ids.get(node.parents[0] ?? '') ?? '');
      if (job === undefined || parent === undefined || hasStarted(job) || !isFinished(parent.state)) continue;
      if (!(await this.#end(job, NOT_NEEDED))) continue;
      cancelled += 1;
      states.set(node.id, { ...job, state: 'cancelled' });
    }
    return cancelled;
  }

  async #end(stored: StoredJob, reason: string): Promise<boolean> {
    const { envelope, id } = stored;
    const shard = this.#topology.shardOf(envelope.tenant);
    const name = id.slice(0, id.lastIndexOf('.'));
    const queue = this.#topology.queue(shard, name);
    const job = Job.fromJSON<JobEnvelope>(queue, stored.json, id);
    if (!(await queue.getBackend().failWaiting(job, reason))) return false;
    await this.#retention.schedule(shard, {
      queue: name,
      id,
      finishedAt: Date.now(),
      retainMs: envelope.retainMs.failed,
    });
    return true;
  }
}

function hasStarted(job: StoredJob): boolean {
  return job.state === 'active' || isFinished(job.state);
}
