import type { JobListQuery } from '../../../src/shared/schemas.ts';
import type { Topology } from '../../topology/topology.ts';
import { DEFAULT_QUEUE } from '../prepare.ts';
import { TenantIndex } from '../tenant-index.ts';
import type { IndexEntry } from './index-entry.ts';
import { termOf } from './terms.ts';
import type { Field } from './terms.ts';

export type ListFilter = Omit<JobListQuery, 'limit' | 'cursor'>;

/** Where jobs are read from: all that match a filter are in it, and mostly others. */
export interface Source {
  /** How many entries it has. */
  readonly size: number;
  /** Up to `count` of them after `cursor`, newest first, in the order of the tenant's index. */
  page(cursor: IndexEntry | null, count: number): Promise<IndexEntry[]>;
  /** Drops entries whose jobs were found gone, if it is up to the reader to do so. */
  drop?(entries: readonly IndexEntry[]): Promise<void>;
}

const FIELDS: readonly Field[] = ['key', 'flowId', 'correlationId', 'tag', 'task', 'queue'];
/** A list of a state that all tenants share is read when it is this short. */
const SHORT = 1000;

/** Where BullMQ has the jobs of a state, all tenants' together. */
const SHARED_LISTS: Partial<Record<string, string>> = {
  active: 'active',
  delayed: 'delayed',
  'waiting-children': 'waiting-children',
  completed: 'completed',
};

/** Finds the shortest way to the jobs of a filter. */
export class Sources {
  readonly #topology: Topology;
  readonly #index: TenantIndex;

  constructor(topology: Topology, index: TenantIndex) {
    this.#topology = topology;
    this.#index = index;
  }

  async shortest(tenant: string, filter: ListFilter): Promise<Source> {
    const found = await Promise.all([
      this.#all(tenant),
      ...FIELDS.map((field) => this.#ofField(tenant, field, filter[field])),
      this.#ofState(tenant, filter),
    ]);
    return found
      .flatMap((source) => source ?? [])
      .reduce((one, other) => (other.size < one.size ? other : one));
  }

  async #all(tenant: string): Promise<Source> {
    const index = this.#index;
    return {
      size: await index.count(tenant),
      page: (cursor, count) => index.page(tenant, cursor, count),
      drop: (entries) =>
        index.remove(
          tenant,
          TenantIndex.outdated(entries).map(({ id }) => id),
        ),
    };
  }

  async #ofField(tenant: string, field: Field, value: string | undefined): Promise<Source | null> {
    if (value === undefined || (field === 'queue' && value === DEFAULT_QUEUE)) return null;
    const [{ terms }, term] = [this.#index, termOf(field, value)];
    return {
      size: await terms.count(tenant, term),
      page: (cursor, count) => terms.page(tenant, term, cursor, count),
      drop: (entries) => terms.drop(tenant, term, TenantIndex.outdated(entries)),
    };
  }

  async #ofState(tenant: string, { state, queue }: ListFilter): Promise<Source | null> {
    if (state === undefined) return null;
    const queues = queue === undefined ? await this.#topology.queueNames() : [queue];
    const list = SHARED_LISTS[state];
    if (list !== undefined) return this.#shared(tenant, queues, list);
    return state === 'waiting' ? null : this.#failed(tenant, queues);
  }

  /** Failed, cancelled and expired jobs, which are all in BullMQ's failed set. */
  async #failed(tenant: string, queues: readonly string[]): Promise<Source> {
    const shard = this.#topology.shardOf(tenant);
    const lists = queues.map((queue) => this.#topology.keys.tenantFailed(shard, tenant, queue));
    const sizes = await Promise.all(lists.map((list) => this.#topology.redis.zcard(list)));
    return {
      size: sizes.reduce((sum, size) => sum + size, 0),
      page: async (cursor, count) => {
        const pages = await Promise.all(lists.map((list) => this.#index.pageOf(list, cursor, count)));
        return pages.flat().sort(newestFirst).slice(0, count);
      },
    };
  }

  /** Null when the lists of the queues are long: then most of them is likely to be other tenants'. */
  async #shared(tenant: string, queues: readonly string[], list: string): Promise<Source | null> {
    const { redis } = this.#topology;
    const prefix = this.#topology.prefix(this.#topology.shardOf(tenant));
    const keys = queues.map((queue) => `${prefix}:${queue}:${list}`);
    const isList = list === 'active';
    const sizes = await Promise.all(keys.map((key) => (isList ? redis.llen(key) : redis.zcard(key))));
    const size = sizes.reduce((sum, each) => sum + each, 0);
    if (size > SHORT) return null;
    let entries: Promise<IndexEntry[]> | undefined;
    const read = async (): Promise<IndexEntry[]> => {
      const ids = await Promise.all(
        keys.map((key) => (isList ? redis.lrange(key, 0, -1) : redis.zrange(key, '0', '-1'))),
      );
      const jobs = queues.flatMap((queue, place) => (ids[place] ?? []).map((id) => ({ id, queue })));
      const times = await Promise.all(
        jobs.map(({ id, queue }) => redis.hget(`${prefix}:${queue}:${id}`, 'timestamp')),
      );
      return jobs.map(({ id }, place) => ({ id, createdAt: Number(times[place] ?? 0) })).sort(newestFirst);
    };
    return {
      size,
      page: async (cursor, count) => {
        const all = await (entries ??= read());
        const rest = cursor === null ? all : all.filter((entry) => newestFirst(cursor, entry) < 0);
        return rest.slice(0, count);
      },
    };
  }
}

/** As Redis sorts sorted sets, backwards: by score, then by the bytes of the member. */
function newestFirst(one: IndexEntry, other: IndexEntry): number {
  return other.createdAt - one.createdAt || (one.id < other.id ? 1 : one.id > other.id ? -1 : 0);
}
