import type { Usage } from '../../src/shared/tenant-schemas.ts';
import type { FairQueueBackend, GroupCounts } from '../fair/index.ts';
import { queueGates, tenantGates } from '../jobs/why.ts';
import type { Topology } from '../topology/topology.ts';

/** What a tenant has in the queues now, and what holds it. */
export interface Standing {
  queues: Usage['queues'];
  blockedBy: Usage['blockedBy'];
  /** Whether a job of it could start now, were it its turn. */
  runnable: boolean;
}

interface InQueue {
  name: string;
  counts: GroupCounts;
  /** Gates that hold every waiting job of the tenant in the queue. */
  gates: ReadonlySet<keyof Usage['blockedBy']>;
}

/** Looks into every queue there is: a few commands each, whatever the number of jobs. */
export async function standingOf(topology: Topology, tenant: string): Promise<Standing> {
  const shard = topology.shardOf(tenant);
  const names = await topology.queueNames();
  const all = await Promise.all(
    names.map((name) => lookInto(topology.queue(shard, name).getBackend(), name, tenant)),
  );
  return {
    queues: queuesOf(all),
    blockedBy: blockedBy(all),
    runnable: all.some(
      ({ counts, gates }) => counts.waiting > counts.blocked + counts.aside && gates.size === 0,
    ),
  };
}

async function lookInto(backend: FairQueueBackend, name: string, tenant: string): Promise<InQueue> {
  const counts = await backend.countGroup(tenant);
  if (counts.waiting === 0) return { name, counts, gates: new Set() };
  const found = await backend.explainGroup(tenant);
  const gates = [...tenantGates(found, name), ...queueGates(found)].map(({ gate }) => gate);
  if (found.queueGate) gates.push('queue_concurrency');
  return { name, counts, gates: new Set(gates as (keyof Usage['blockedBy'])[]) };
}

function queuesOf(all: readonly InQueue[]): Usage['queues'] {
  const some = all.filter(({ counts }) => counts.waiting + counts.delayed + counts.active > 0);
  return Object.fromEntries(
    some.map(({ name, counts: { waiting, delayed, active } }) => [name, { waiting, delayed, active }]),
  );
}

/** A job counts at each gate that holds it, as `/why` names them for it. */
function blockedBy(all: readonly InQueue[]): Usage['blockedBy'] {
  const sum = (count: (queue: InQueue) => number): number =>
    all.reduce((total, queue) => total + count(queue), 0);
  const heldBy = (gate: keyof Usage['blockedBy']): number =>
    sum(({ gates, counts }) => (gates.has(gate) ? counts.waiting : 0));
  return {
    tenant_paused: heldBy('tenant_paused'),
    tenant_concurrency: heldBy('tenant_concurrency'),
    tenant_rate: heldBy('tenant_rate'),
    key: sum(({ counts }) => counts.blocked),
    queue_paused: heldBy('queue_paused'),
    queue_concurrency: sum(({ gates, counts }) =>
      gates.has('queue_concurrency') ? counts.waiting : counts.aside,
    ),
    delayed: sum(({ counts }) => counts.delayed),
  };
}
