import { WaggleError } from '../../src/shared/errors.ts';
import { queueOfJobId } from '../../src/shared/ids.ts';
import type { Limits } from '../../src/shared/limits.ts';
import { JobRequest } from '../../src/shared/schemas.ts';
import type { Job, JobListQuery, JobPage, Why } from '../../src/shared/schemas.ts';
import { parse } from '../../src/shared/validate.ts';
import { KeyBusyError, TurnBatches } from '../fair/index.ts';
import type { StoredAnswer } from '../once/types.ts';
import type { TaskRegistry } from '../tasks/registry.ts';
import { assertFits, queueFull } from '../tenants/room.ts';
import type { Room } from '../tenants/room.ts';
import type { Tenants } from '../tenants/types.ts';
import { asCallerError, withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';
import { ConditionalAdds, keyBusy } from './conditional-adds.ts';
import type { Endings } from './endings.ts';
import type { JobList } from './list.ts';
import { prepareJob } from './prepare.ts';
import type { PreparedJob } from './prepare.ts';
import type { JobReader } from './reader.ts';
import { searchedOf, searchedOfRecord } from './search/terms.ts';
import type { TenantIndex } from './tenant-index.ts';
import type { Accepted, BatchOutcome, EnqueueContext, Jobs } from './types.ts';
import { enqueuedView, isFinished, jobView } from './view.ts';
import type { Waiters } from './waiters.ts';
import type { JobExplainer } from './why.ts';

export interface JobServiceParts {
  topology: Topology;
  tasks: TaskRegistry;
  limits: Limits;
  index: TenantIndex;
  reader: JobReader;
  list: JobList;
  waiters: Waiters;
  tenants: Pick<Tenants, 'withRoom'>;
  endings: Pick<Endings, 'sweep'>;
  explainer: JobExplainer;
}

/** Jobs per transaction, so that no batch keeps the server for long. */
const CONDITIONAL_AT_ONCE = 50;

/** What a batch item became: a job to add, or the problem it has. */
type BatchItem = { job: PreparedJob } | { problem: WaggleError };

export class JobService implements Jobs {
  readonly #parts: JobServiceParts;
  /** Every caller comes over a connection of its own. */
  readonly #adds = new TurnBatches((jobs: PreparedJob[]) => this.#addSome(jobs), setImmediate);

  constructor(parts: JobServiceParts) {
    this.#parts = parts;
  }

  async enqueue(tenant: string, request: JobRequest, context: EnqueueContext): Promise<Job> {
    return (await this.accept(tenant, request, context)).job;
  }

  async accept(tenant: string, request: JobRequest, context: EnqueueContext): Promise<Accepted> {
    const job = this.#prepare(tenant, request, context, Date.now());
    if (context.once || job.dedupe) return this.#acceptOnCondition(tenant, job, context);
    const add = async (): Promise<void> => {
      const added = await this.#adds.add(job, 0);
      if (added.status === 'rejected') throw added.reason;
    };
    try {
      if (context.evenIfFull) await add();
      else {
        await this.#parts.tenants.withRoom(tenant, 1, async (room) => {
          assertFits(1, room);
          await add();
        });
      }
      await this.#endSuperseded(tenant, [job]);
    } catch (error) {
      if (error instanceof KeyBusyError) throw keyBusy();
      throw asCallerError(error);
    }
    return { job: enqueuedView(job), isNew: true };
  }

  async enqueueBatch(
    tenant: string,
    requests: readonly unknown[],
    context: EnqueueContext,
  ): Promise<BatchOutcome[]> {
    this.#assertBatchSize(requests.length);
    const createdAt = Date.now();
    const items = requests.map((request) => this.#batchItem(tenant, request, context, createdAt));
    const jobs = items.flatMap((item) => ('job' in item ? [item.job] : []));
    const outcomes = await this.#addBatch(tenant, jobs, context);
    const next = outcomes.values();
    return items.map((item) => ('problem' in item ? item : (next.next().value ?? { id: item.job.id })));
  }

  async get(tenant: string, id: string): Promise<Job> {
    return withRedis(async () => jobView(await this.#parts.reader.get(tenant, id)));
  }

  async waitUntilFinished(tenant: string, id: string, timeoutMs: number, signal?: AbortSignal): Promise<Job> {
    const { reader, topology, waiters } = this.#parts;
    return withRedis(async () => {
      const first = await reader.get(tenant, id);
      if (isFinished(first.state) || timeoutMs <= 0) return jobView(first);
      const place = { id, shard: topology.shardOf(tenant), queue: queueOfJobId(id) ?? '' };
      await waiters.wait(place, timeoutMs, signal, async () => {
        const job = await reader.find(tenant, id);
        return job === null || isFinished(job.state);
      });
      return jobView(await reader.get(tenant, id));
    });
  }

  async why(tenant: string, id: string): Promise<Why> {
    return withRedis(() => this.#parts.explainer.explain(tenant, id));
  }

  async list(tenant: string, query: JobListQuery): Promise<JobPage> {
    return withRedis(() => this.#parts.list.page(tenant, query));
  }

  #prepare(tenant: string, request: JobRequest, context: EnqueueContext, createdAt: number): PreparedJob {
    const { tasks, limits } = this.#parts;
    return prepareJob(request, {
      tenant,
      correlationId: context.correlationId,
      traceparent: context.traceparent,
      createdAt,
      tasks,
      payloadBytes: limits.payloadBytes,
    });
  }

  #batchItem(tenant: string, request: unknown, context: EnqueueContext, createdAt: number): BatchItem {
    try {
      return { job: this.#prepare(tenant, parse(JobRequest, request), context, createdAt) };
    } catch (error) {
      if (error instanceof WaggleError) return { problem: error };
      throw error;
    }
  }

  /** Jobs of any tenants. @returns what became of each */
  async #addSome(jobs: PreparedJob[]): Promise<PromiseSettledResult<unknown>[]> {
    const { topology, index } = this.#parts;
    const queues = jobs.map(({ queue, envelope }) =>
      topology.queue(topology.shardOf(envelope.tenant), queue),
    );
    const noted = new Map<string, Promise<void>>();
    // Sent together, in this order: a job that is stored is in the index, whatever happens in between.
    for (const [tenant, some] of groupedBy(jobs, ({ envelope }) => envelope.tenant))
      noted.set(tenant, index.add(tenant, some.map(searchedOf)));
    const added = jobs.map(({ task, queue, envelope, options }, place) =>
      Promise.all([
        noted.get(envelope.tenant),
        topology.register(queue),
        queues[place]?.add(task, envelope, options),
      ]),
    );
    return Promise.allSettled(added);
  }

  async #acceptOnCondition(tenant: string, job: PreparedJob, context: EnqueueContext): Promise<Accepted> {
    const view = enqueuedView(job);
    const answer = job.dedupe ? undefined : context.once?.answerOf?.(view);
    const [outcome] = await this.#addOnCondition(tenant, [job], context, answer);
    if (outcome === undefined) throw new Error('a job that was added has an outcome');
    if ('problem' in outcome) throw outcome.problem;
    if (outcome.id === job.id) return { job: view, isNew: true };
    const stored = await withRedis(() => this.#parts.reader.find(tenant, outcome.id));
    // One that is gone was removed after its end, long before a repeat of its request is out of date.
    return { job: stored === null ? { ...view, id: outcome.id } : jobView(stored), isNew: false };
  }

  async #addOnCondition(
    tenant: string,
    jobs: PreparedJob[],
    { once }: EnqueueContext,
    answer?: StoredAnswer,
  ): Promise<BatchOutcome[]> {
    const { topology, index, tenants } = this.#parts;
    const outcomes = await new ConditionalAdds(topology, index, tenants).add(tenant, jobs, once, answer);
    await Promise.all([this.#endSuperseded(tenant, jobs), this.#noteChanged(tenant, jobs, outcomes)]);
    return outcomes;
  }

  /** A job that stands for another may carry what that one did: it is found by that now. */
  async #noteChanged(tenant: string, jobs: readonly PreparedJob[], outcomes: BatchOutcome[]): Promise<void> {
    const { reader, index } = this.#parts;
    const ids = jobs.flatMap(({ id, dedupe }, place) => {
      const outcome = outcomes[place];
      const stands = dedupe && outcome !== undefined && 'id' in outcome && outcome.id !== id;
      return stands ? [outcome.id] : [];
    });
    if (ids.length === 0) return;
    const records = await withRedis(() => Promise.all(ids.map((id) => reader.record(tenant, id))));
    const changed = records.flatMap((record) => (record === null ? [] : [searchedOfRecord(record)]));
    await withRedis(() => index.note(tenant, changed));
  }

  async #addBatch(tenant: string, jobs: PreparedJob[], context: EnqueueContext): Promise<BatchOutcome[]> {
    if (context.once) return this.#addOnCondition(tenant, jobs, context);
    if (!jobs.some((job) => job.dedupe)) return this.#addFitting(tenant, jobs, context);
    const outcomes: BatchOutcome[] = [];
    for (let from = 0; from < jobs.length; from += CONDITIONAL_AT_ONCE) {
      const some = jobs.slice(from, from + CONDITIONAL_AT_ONCE);
      const added = this.#addOnCondition(tenant, some, context);
      outcomes.push(...(await added.catch((error: unknown) => eachWith(error, some))));
    }
    return outcomes;
  }

  /** The first jobs of a batch take what room the tenant has. @returns what became of each */
  async #addFitting(tenant: string, jobs: PreparedJob[], { after }: EnqueueContext): Promise<BatchOutcome[]> {
    const add = async (room: Room): Promise<BatchOutcome[]> => {
      const problems = await this.#addAll(tenant, jobs.slice(0, room.jobs));
      for (const job of jobs.slice(room.jobs)) problems.set(job, queueFull(room));
      return jobs.map((job) => {
        const problem = problems.get(job);
        return problem === undefined ? { id: job.id } : { problem };
      });
    };
    try {
      return await withRedis(() => this.#parts.tenants.withRoom(tenant, jobs.length, add, after));
    } catch (error) {
      return eachWith(error, jobs);
    }
  }

  #assertBatchSize(size: number): void {
    const most = this.#parts.limits.batchJobs;
    if (size <= most) return;
    throw new WaggleError('payload_too_large', `A batch takes at most ${most} jobs; this one has ${size}.`, {
      errors: [{ path: 'jobs', message: `has more than ${most} items` }],
    });
  }

  /** One pipeline per queue. @returns the problem of each job that could not be added */
  async #addAll(tenant: string, jobs: PreparedJob[]): Promise<Map<PreparedJob, WaggleError>> {
    const problems = new Map<PreparedJob, WaggleError>();
    await Promise.all(
      [...groupedBy(jobs, ({ queue }) => queue)].map(async ([name, queued]) => {
        try {
          const refused = await this.#addToQueue(tenant, name, queued);
          for (const job of refused) problems.set(job, keyBusy());
        } catch (error) {
          const known = asCallerError(error);
          if (!(known instanceof WaggleError)) throw error;
          for (const job of queued) problems.set(job, known);
        }
      }),
    );
    return problems;
  }

  /** @returns the jobs that were refused because their key is taken */
  async #addToQueue(tenant: string, name: string, jobs: PreparedJob[]): Promise<PreparedJob[]> {
    const { topology, index } = this.#parts;
    const queue = topology.queue(topology.shardOf(tenant), name);
    const bulk = jobs.map((job) => ({ name: job.task, data: job.envelope, opts: job.options }));
    const [, , added] = await Promise.all([
      index.add(tenant, jobs.map(searchedOf)),
      topology.register(name),
      queue.addBulk(bulk),
    ]);
    await this.#endSuperseded(tenant, jobs);
    return jobs.filter((_, place) => added[place]?.id === '');
  }

  /** Jobs that these have put an end to are recorded right away. Should that fail, a worker does it soon. */
  async #endSuperseded(tenant: string, jobs: readonly PreparedJob[]): Promise<void> {
    const ends = jobs.filter(({ options: { group } }) => {
      return group?.keyStrategy === 'cancel-running' || group?.keyStrategy === 'replace-waiting';
    });
    const { topology, endings } = this.#parts;
    const queues = new Set(ends.map((job) => job.queue));
    const sweeps = [...queues].map((queue) => endings.sweep(topology.shardOf(tenant), queue));
    await Promise.allSettled(sweeps);
  }
}

/** An error callers may see as the problem of each of some jobs. */
function eachWith(error: unknown, jobs: readonly PreparedJob[]): BatchOutcome[] {
  if (!(error instanceof WaggleError)) throw error;
  return jobs.map(() => ({ problem: error }));
}

function groupedBy(
  jobs: readonly PreparedJob[],
  nameOf: (job: PreparedJob) => string,
): Map<string, PreparedJob[]> {
  const groups = new Map<string, PreparedJob[]>();
  for (const job of jobs) {
    const group = groups.get(nameOf(job));
    if (group) group.push(job);
    else groups.set(nameOf(job), [job]);
  }
  return groups;
}
