import { WaggleError } from '../../src/shared/errors.ts';
import { queueOfJobId } from '../../src/shared/ids.ts';
import type { Limits } from '../../src/shared/limits.ts';
import type { Flow, FlowNode, FlowReceipt, FlowState, FlowTree, JobState } from '../../src/shared/schemas.ts';
import type { FlowNodeRecord } from '../jobs/envelope.ts';
import type { JobReader } from '../jobs/reader.ts';
import { searchedOf } from '../jobs/search/terms.ts';
import type { TenantIndex } from '../jobs/tenant-index.ts';
import type { EnqueueContext } from '../jobs/types.ts';
import { jobView } from '../jobs/view.ts';
import type { Once } from '../once/types.ts';
import { EnqueueTransaction } from '../once/transaction.ts';
import type { TaskRegistry } from '../tasks/registry.ts';
import { assertFits } from '../tenants/room.ts';
import type { Tenants } from '../tenants/types.ts';
import { asCallerError, withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';
import type { FlowCancellation } from './cancellation.ts';
import { planFlow } from './plan.ts';
import type { FlowPlan } from './plan.ts';
import type { Flows } from './types.ts';

export interface FlowServiceParts {
  topology: Topology;
  tasks: TaskRegistry;
  limits: Limits;
  index: TenantIndex;
  reader: JobReader;
  cancellation: FlowCancellation;
  tenants: Pick<Tenants, 'withRoom'>;
}

export class FlowService implements Flows {
  readonly #parts: FlowServiceParts;

  constructor(parts: FlowServiceParts) {
    this.#parts = parts;
  }

  async enqueue(tenant: string, tree: FlowTree, context: EnqueueContext): Promise<FlowReceipt> {
    const { topology, tasks, limits, tenants } = this.#parts;
    const shard = topology.shardOf(tenant);
    const createdAt = Date.now();
    const plan = planFlow(tree, {
      tenant,
      createdAt,
      correlationId: context.correlationId,
      traceparent: context.traceparent,
      tasks,
      payloadBytes: limits.payloadBytes,
      prefix: topology.prefix(shard),
      maxNodes: limits.flowNodes,
      maxDepth: limits.flowDepth,
    });
    if (context.once?.outcomes) return receiptOf(plan, context.once.outcomes);
    const queues = [...new Set(plan.jobs.map((job) => job.queue))];
    const ids = plan.nodes.map((node) => node.id);
    try {
      await tenants.withRoom(tenant, plan.jobs.length, async (room) => {
        assertFits(plan.jobs.length, room);
        await Promise.all([
          ...queues.map((queue) => topology.register(queue)),
          context.once ? this.#addOnce(tenant, createdAt, plan, context.once) : this.#add(tenant, plan),
        ]);
      });
    } catch (error) {
      throw asCallerError(error);
    }
    return receiptOf(plan, ids);
  }

  async #add(tenant: string, plan: FlowPlan): Promise<void> {
    const { topology, index } = this.#parts;
    const producer = topology.flowProducer(topology.shardOf(tenant));
    await Promise.all([index.add(tenant, plan.jobs.map(searchedOf)), producer.add(plan.root)]);
  }

  async #addOnce(tenant: string, createdAt: number, plan: FlowPlan, once: Once): Promise<void> {
    const ids = plan.nodes.map((node) => node.id);
    const transaction = new EnqueueTransaction(this.#parts.topology, tenant, createdAt);
    await transaction.addFlow(plan.root, ids);
    await this.#parts.index.note(tenant, plan.jobs.map(searchedOf));
    await transaction.commit(once, once.answerOf?.(receiptOf(plan, ids)));
  }

  async get(tenant: string, id: string): Promise<Flow> {
    return withRedis(async () => {
      const root = await this.#parts.reader.find(tenant, id);
      const nodes = root?.envelope.nodes;
      if (root === null || nodes === undefined) throw new WaggleError('not_found', 'There is no such flow.');
      const states = await this.#states(tenant, nodes);
      return {
        id,
        state: flowState(root.state),
        nodes: nodes.map((node, place) => nodeView(node, states[place] ?? 'waiting')),
        result: jobView(root).result,
      };
    });
  }

  async cancelUnstarted(tenant: string, id: string): Promise<number> {
    if (queueOfJobId(id) === null) return 0;
    return withRedis(() => this.#parts.cancellation.run(tenant, id));
  }

  #states(tenant: string, nodes: FlowNodeRecord[]): Promise<JobState[]> {
    return Promise.all(
      nodes.map(async (node) => {
        const job = await this.#parts.reader.find(tenant, node.id);
        // Nodes go with their root and not before, so one that is gone was removed by hand.
        return job?.state ?? 'cancelled';
      }),
    );
  }
}

/** @param ids of the nodes, in the order of the plan */
function receiptOf({ nodes }: FlowPlan, ids: readonly string[]): FlowReceipt {
  return {
    id: ids[0] ?? '',
    jobs: Object.fromEntries(nodes.map((node, place) => [node.name, ids[place] ?? ''])),
  };
}

/** A flow is as far as its root: the root ends last, but for siblings that were running when one of them failed. */
function flowState(root: JobState): FlowState {
  switch (root) {
    case 'completed':
    case 'cancelled':
      return root;
    case 'failed':
    case 'expired':
      return 'failed';
    default:
      return 'running';
  }
}

function nodeView(node: FlowNodeRecord, state: JobState): FlowNode {
  const { name, id, task, parents, children } = node;
  return { name, id, task, state, parents, children };
}
