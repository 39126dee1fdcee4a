import type { CancelRequest, JobPatch } from '../../src/shared/control-schemas.ts';
import { WaggleError } from '../../src/shared/errors.ts';
import { queueOfJobId } from '../../src/shared/ids.ts';
import type { Limits } from '../../src/shared/limits.ts';
import type { Job } from '../../src/shared/schemas.ts';
import type { FairQueueBackend } from '../fair/index.ts';
import type { TaskRegistry } from '../tasks/registry.ts';
import { assertFits } from '../tenants/room.ts';
import type { Tenants } from '../tenants/types.ts';
import { withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';
import type { JobEndings } from './endings.ts';
import { CANCELLED, encodeFailure } from './failure.ts';
import { checkPayload, toBullPriority } from './prepare.ts';
import type { JobReader } from './reader.ts';
import { searchedOfRecord } from './search/terms.ts';
import type { TenantIndex } from './tenant-index.ts';
import { isFinished, jobView } from './view.ts';
import type { StoredJob } from './view.ts';

export interface JobControlParts {
  topology: Topology;
  tasks: TaskRegistry;
  limits: Limits;
  index: TenantIndex;
  reader: JobReader;
  endings: JobEndings;
  tenants: Pick<Tenants, 'withRoom'>;
}

/** A job that moves between the reading of its state and the script for it is looked at again; so often. */
const TRIES = 5;

/**
 * What a tenant does to its jobs once they are in. Every call is bound to one tenant and never sees another's.
 * Each throws WaggleError not_found, job_not_in_state, redis_unavailable.
 */
export class JobControl {
  readonly #parts: JobControlParts;

  constructor(parts: JobControlParts) {
    this.#parts = parts;
  }

  /**
   * Ends a job: one that does not run at once; one that runs is asked to stop, and recorded after its grace in any case.
   * Idempotent.
   * @returns the job, cancelled already or still running
   */
  async cancel(tenant: string, id: string, request: CancelRequest): Promise<Job> {
    return withRedis(async () => {
      await this.#settle(tenant, id, (job) => this.#tryCancel(job, request));
      return jobView(await this.#parts.reader.get(tenant, id));
    });
  }

  /** Lets a job that failed, expired or was cancelled wait again, as if it had made no attempt. @throws WaggleError queue_full */
  async retry(tenant: string, id: string): Promise<Job> {
    return withRedis(async () => {
      await this.#settle(tenant, id, async (job) => {
        assertNoNode(job, 'retry the flow');
        if (job.state === 'completed' || !isFinished(job.state)) throw notInState(job, 'can be retried');
        return this.#parts.tenants.withRoom(tenant, 1, async (room) => {
          assertFits(1, room);
          return this.#revive(job);
        });
      });
      return jobView(await this.#parts.reader.get(tenant, id));
    });
  }

  /** Lets a delayed job wait now. */
  async promote(tenant: string, id: string): Promise<Job> {
    return withRedis(async () => {
      await this.#settle(tenant, id, async (job) => {
        if (job.state !== 'delayed') throw notInState(job, 'can be promoted');
        return this.#amend(job, { runAt: null });
      });
      return jobView(await this.#parts.reader.get(tenant, id));
    });
  }

  /** Changes a job that waits or is delayed. @throws WaggleError invalid_payload, payload_too_large */
  async amend(tenant: string, id: string, patch: JobPatch): Promise<Job> {
    return withRedis(async () => {
      await this.#settle(tenant, id, async (job) => {
        if (job.state !== 'waiting' && job.state !== 'delayed') throw notInState(job, 'can be changed');
        this.#checkPayload(job, patch);
        return this.#amend(job, patch);
      });
      return jobView(await this.#parts.reader.get(tenant, id));
    });
  }

  /** Removes a job that does not run, with all that belongs to it. */
  async remove(tenant: string, id: string): Promise<void> {
    await withRedis(() =>
      this.#settle(tenant, id, async (job) => {
        assertNoNode(job, 'it goes with the others');
        if (job.state === 'active') throw notInState(job, 'can be removed');
        // 0: a worker has just taken it.
        if ((await this.#backend(job).remove(id, false)) === 0) return false;
        await this.#parts.index.forget(tenant, [searchedOfRecord({ ...job, queue: queueOf(id) })]);
        return true;
      }),
    );
  }

  /** Does something to a job in the state it is read in, and again when it was in another one by then. */
  async #settle(tenant: string, id: string, act: (job: StoredJob) => Promise<boolean>): Promise<void> {
    for (let left = TRIES; left > 0; left -= 1) {
      if (await act(await this.#parts.reader.get(tenant, id))) return;
    }
    throw new WaggleError('job_not_in_state', 'The job is changing its state at the moment; try again.');
  }

  async #tryCancel(job: StoredJob, { reason, graceMs }: CancelRequest): Promise<boolean> {
    const { topology, endings } = this.#parts;
    if (job.state === CANCELLED) return true;
    if (isFinished(job.state)) throw notInState(job, 'can be cancelled');
    const shard = topology.shardOf(job.envelope.tenant);
    const failure = { code: CANCELLED, message: reason, retryable: false };
    if (job.state !== 'active') return endings.endUnstarted(shard, job.id, failure);
    if (!(await this.#backend(job).askToStop(job.id, graceMs, encodeFailure(failure)))) return false;
    return graceMs > 0 || endings.endOverdue(shard, job.id);
  }

  async #revive(job: StoredJob): Promise<boolean> {
    const { envelope, json } = job;
    if (envelope.expiresAt === null) return this.#backend(job).revive(job.id, { data: null });
    const expiresAt = Date.now() + envelope.expiresAt - json.timestamp;
    const renewed = { ...envelope, expiresAt };
    await this.#parts.index.noteExpiry(envelope.tenant, job.id, expiresAt);
    return this.#backend(job).revive(job.id, { data: JSON.stringify(renewed) });
  }

  async #amend(job: StoredJob, patch: JobPatch): Promise<boolean> {
    const { json, envelope } = job;
    const priority =
      patch.priority === undefined ? (json.opts.priority ?? 0) : toBullPriority(patch.priority);
    const runAt = 'runAt' in patch ? dueTime(patch.runAt) : null;
    const options = await this.#storedOptions(job);
    if (options === null) return false;
    const delay = runAt === null ? options.delay : Math.max(0, runAt - json.timestamp);
    return this.#backend(job).amend(job.id, {
      options: JSON.stringify({ ...options, priority, delay }),
      priority,
      data: 'payload' in patch ? JSON.stringify({ ...envelope, payload: patch.payload }) : null,
      runAt,
    });
  }

  /** As they lie there: BullMQ stores some under other names than it reads them. Null when the job is gone. */
  async #storedOptions({ id, envelope }: StoredJob): Promise<Record<string, unknown> | null> {
    const { topology } = this.#parts;
    const prefix = topology.prefix(topology.shardOf(envelope.tenant));
    const stored = await topology.redis.hget(`${prefix}:${queueOf(id)}:${id}`, 'opts');
    return stored === null ? null : (JSON.parse(stored) as Record<string, unknown>);
  }

  #checkPayload(job: StoredJob, patch: JobPatch): void {
    if (!('payload' in patch)) return;
    const task = this.#parts.tasks.get(job.json.name);
    if (task === undefined) throw notInState(job, 'can be changed, since nobody knows its task any more');
    checkPayload(task, patch.payload, { payloadBytes: this.#parts.limits.payloadBytes });
  }

  #backend({ id, envelope }: StoredJob): FairQueueBackend {
    const { topology } = this.#parts;
    return topology.queue(topology.shardOf(envelope.tenant), queueOf(id)).getBackend();
  }
}

/** What a flow's node goes through is a matter of the whole flow. */
function assertNoNode({ envelope: { flow } }: StoredJob, hint: string): void {
  if (flow === null) return;
  throw new WaggleError('job_not_in_state', `The job is a node of flow ${flow.id}: ${hint}.`);
}

function notInState({ state }: StoredJob, can: string): WaggleError {
  return new WaggleError('job_not_in_state', `A job that is ${state} is none that ${can}.`);
}

/** ms epoch; a time that has come, as none, is now. */
function dueTime(runAt: string | null | undefined): number {
  return Math.max(Date.now(), runAt == null ? 0 : Date.parse(runAt));
}

function queueOf(id: string): string {
  return queueOfJobId(id) ?? '';
}
