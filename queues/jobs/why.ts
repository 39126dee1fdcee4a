import type { Gate, Why } from '../../src/shared/schemas.ts';
import type { ClosedGate, Explanation, Gate as OverallGate } from '../fair/index.ts';
import type { OverallStanding } from '../overall/types.ts';
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
  readonly #overall: OverallStanding;

  constructor(topology: Topology, reader: JobReader, presence: WorkerPresence, overall: OverallStanding) {
    this.#topology = topology;
    this.#reader = reader;
    this.#presence = presence;
    this.#overall = overall;
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
    const overall = await this.#overallGates(found, queue);
    const gates = [...tenantGates(found, queue), ...keyGates(found), ...queueGates(found), ...overall];
    if (workers === 0) gates.push(gate('no_worker', `no worker serves queue ${queue}`));
    const runnable = gates.length === 0;
    if (runnable) gates.push(gate('fair_turn', turn(found)));
    const position = { inTenant: found.place ?? null, tenantsAhead: found.groupsAhead ?? null };
    return { ...answer(job, gates), runnable, position };
  }

  async #overallGates({ queueGate, taskGate }: Explanation, queue: string): Promise<Blocking[]> {
    const found: Blocking[] = [];
    if (queueGate) found.push(await this.#overallGate('q', queue, queueGate));
    if (taskGate) found.push(await this.#overallGate('t', taskGate.task, taskGate));
    return found;
  }

  /** What the shard runs says little, so that of all shards is said where there are several. */
  async #overallGate(kind: OverallGate['kind'], name: string, closed: ClosedGate): Promise<Blocking> {
    const who = `${kind === 'q' ? 'queue' : 'task'} ${name}`;
    if (closed.due !== undefined)
      return gate('queue_concurrency', `${who} has started as many jobs as its rate allows`, closed.due);
    const { run, max } = await this.#overall.running(kind, name);
    if (max === null) return gate('queue_concurrency', `${who} may start no jobs in this shard for now`);
    const here = run < max ? `; the part of this shard is ${closed.max ?? 0}` : '';
    return gate('queue_concurrency', `${who} runs ${run} of ${max}${here}`);
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

/** The gates of BullMQ that hold everybody in a queue. */
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
