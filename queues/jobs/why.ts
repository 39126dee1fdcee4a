import type { Gate, Why } from '../../src/shared/schemas.ts';
import type { Explanation } from '../fair/index.ts';
import type { WorkerPresence } from '../topology/presence.ts';
import type { Topology } from '../topology/topology.ts';
import type { JobReader } from './reader.ts';
import type { StoredJob } from './view.ts';

type Blocking = Why['blockedBy'][number];

/** Says what keeps a job from running, until when, and its place in line. Reads only; a few commands at any size. */
export class JobExplainer {
  readonly #topology: Topology;
  readonly #reader: JobReader;
  readonly #presence: WorkerPresence;

  constructor(topology: Topology, reader: JobReader, presence: WorkerPresence) {
    this.#topology = topology;
    this.#reader = reader;
    this.#presence = presence;
  }

  /** @throws WaggleError not_found */
  async explain(tenant: string, id: string): Promise<Why> {
    const job = await this.#reader.get(tenant, id);
    switch (job.state) {
      case 'waiting':
        return this.#waiting(tenant, job);
      case 'delayed':
        return answer(job, [gate('delayed', 'it is not due yet', job.dueAt)]);
      case 'waiting-children':
        return answer(job, [gate('children', await this.#pendingChildren(tenant, job))]);
      default:
        return answer(job, []);
    }
  }

  async #waiting(tenant: string, job: StoredJob): Promise<Why> {
    const shard = this.#topology.shardOf(tenant);
    const queue = queueOf(job.id);
    const [found, workers] = await Promise.all([
      this.#topology.queue(shard, queue).getBackend().explainWaiting(tenant, job.id),
      this.#presence.count(shard, queue),
    ]);
    const gates = [...tenantGates(found, queue), ...keyGates(found), ...queueGates(found)];
    if (workers === 0) gates.push(gate('no_worker', `no worker serves queue ${queue}`));
    const runnable = gates.length === 0;
    if (runnable) gates.push(gate('fair_turn', turn(found)));
    const position = { inTenant: found.place ?? null, tenantsAhead: found.groupsAhead ?? null };
    return { ...answer(job, gates), runnable, position };
  }

  async #pendingChildren(tenant: string, job: StoredJob): Promise<string> {
    const key = `${this.#topology.prefix(this.#topology.shardOf(tenant))}:${queueOf(job.id)}:${job.id}:dependencies`;
    const pending = await this.#topology.redis.scard(key);
    return `${pending} of its children ${pending === 1 ? 'has' : 'have'} not finished`;
  }
}

/** The gates of a tenant over all its queues and in one of them. */
export function tenantGates({ now, pausedUntil, gates }: Explanation, queue: string): Blocking[] {
  const found: Blocking[] = [];
  if (pausedUntil !== undefined && (pausedUntil < 0 || pausedUntil > now))
    found.push(gate('tenant_paused', 'the tenant is paused', pausedUntil < 0 ? null : pausedUntil));
  for (const [index, { run, max, due }] of gates.entries()) {
    const where = index === 0 ? 'over all its queues' : `in queue ${queue}`;
    if (max !== undefined && run >= max)
      found.push(gate('tenant_concurrency', `the tenant runs ${run} of ${max} jobs ${where}`));
    if (due !== undefined && due > now)
      found.push(gate('tenant_rate', `the tenant has started as many jobs ${where} as its rate allows`, due));
  }
  return found;
}

function keyGates({ blocked, holders = [] }: Explanation): Blocking[] {
  if (blocked === undefined) return [];
  const shown = holders.slice(0, 3).join(', ');
  return [gate('key', `its key is held by ${shown}; ${blocked} of the key are before it`)];
}

/** The gates that hold everybody in a queue. */
export function queueGates({ queuePaused, concurrency, active }: Explanation): Blocking[] {
  const found: Blocking[] = [];
  if (queuePaused) found.push(gate('queue_paused', 'the queue is paused'));
  if (concurrency !== undefined && active >= concurrency)
    found.push(gate('queue_concurrency', `the queue runs ${active} of ${concurrency} jobs`));
  return found;
}

function turn({ place = 0, groupsAhead = 0 }: Explanation): string {
  return `nothing holds it: ${groupsAhead} tenants are served before its own, ${place} jobs of its tenant before it`;
}

function gate(name: Gate, detail: string, until: number | null = null): Blocking {
  return { gate: name, detail, until: until === null ? null : new Date(until).toISOString() };
}

/** The earliest start is known when only times hold the job. */
function answer({ state }: StoredJob, blockedBy: Blocking[]): Why {
  const times = blockedBy.map((each) => each.until);
  const known = times.length > 0 && times.every((until) => until !== null);
  return {
    state,
    runnable: false,
    blockedBy,
    position: { inTenant: null, tenantsAhead: null },
    estimatedStartAt: known ? (times.sort().at(-1) ?? null) : null,
  };
}

function queueOf(id: string): string {
  return id.slice(0, id.lastIndexOf('.'));
}
