import { WaggleError } from '../../src/shared/errors.ts';
import { EnqueueTransaction } from '../once/transaction.ts';
import type { Once, StoredAnswer } from '../once/types.ts';
import { queueFull } from '../tenants/room.ts';
import type { Room } from '../tenants/room.ts';
import type { Tenants } from '../tenants/types.ts';
import { withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';
import type { PreparedJob } from './prepare.ts';
import { searchedOf } from './search/terms.ts';
import type { TenantIndex } from './tenant-index.ts';
import type { BatchOutcome } from './types.ts';

/** Jobs that are added only if something holds: their request was not here before, no other job stands for them. */
export class ConditionalAdds {
  readonly #topology: Topology;
  readonly #index: TenantIndex;
  readonly #tenants: Pick<Tenants, 'withRoom'>;

  constructor(topology: Topology, index: TenantIndex, tenants: Pick<Tenants, 'withRoom'>) {
    this.#topology = topology;
    this.#index = index;
    this.#tenants = tenants;
  }

  /**
   * Adds jobs in one transaction.
   * @param answer of a request, where it is known before
   * @returns what became of each, in their order: an id other than its own is that of a job which stands for it
   * @throws SentBeforeError; WaggleError idempotency_key_reused, idempotency_in_progress, redis_unavailable
   */
  async add(
    tenant: string,
    jobs: readonly PreparedJob[],
    once?: Once,
    answer?: StoredAnswer,
  ): Promise<BatchOutcome[]> {
    if (once?.outcomes) return outcomesOf(once.outcomes, { jobs: 0, most: null });
    return withRedis(() =>
      this.#tenants.withRoom(tenant, jobs.length, async (room) => {
        const createdAt = jobs[0]?.options.timestamp ?? 0;
        const transaction = new EnqueueTransaction(this.#topology, tenant, createdAt);
        for (const [place, job] of jobs.entries()) transaction.addJob(job, place < room.jobs);
        const queues = [...new Set(jobs.map((job) => job.queue))];
        // What does not become a job leaves terms that are dropped later; no job is without.
        const [, outcomes] = await Promise.all([
          this.#index.note(tenant, jobs.map(searchedOf)),
          transaction.commit(once, answer),
          this.#index.dropSome(tenant, jobs.length),
          ...queues.map((queue) => this.#topology.register(queue)),
        ]);
        return outcomesOf(outcomes, room);
      }),
    );
  }
}

function outcomesOf(outcomes: readonly string[], room: Room): BatchOutcome[] {
  return outcomes.map((outcome) => {
    const problem = refusals[outcome]?.(room);
    return problem === undefined ? { id: outcome } : { problem };
  });
}

/** What `note.lua` and `deduplicate.lua` say. */
const refusals: Record<string, (room: Room) => WaggleError> = {
  '!full': queueFull,
  '!busy': keyBusy,
  '!task': () => notTheSame('The job that waits with this id is of another task.'),
  '!mode': () => notTheSame('The job that waits with this id collects no payloads.'),
  '!large': () => {
    const detail = 'The payloads collected would be larger than a payload may be.';
    return new WaggleError('payload_too_large', detail, { errors: [{ path: 'payload', message: detail }] });
  },
};

function notTheSame(detail: string): WaggleError {
  return new WaggleError('conflict', detail, { errors: [{ path: 'dedupe.id', message: 'is in use' }] });
}

export function keyBusy(): WaggleError {
  return new WaggleError('conflict', 'Another job of this key runs or waits.', {
    errors: [{ path: 'key', message: 'is taken' }],
  });
}
