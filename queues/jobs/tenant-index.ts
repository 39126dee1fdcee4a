import { defineScript } from '../topology/scripts.ts';
import type { Topology } from '../topology/topology.ts';

/** A job is written right after its entry; an entry this old without a job will never have one. */
const GRACE_MS = 600_000;
/** Once per so many jobs the oldest entries are looked at, twice as many as jobs came: the index cannot outgrow them. */
const DROP_EVERY = 16;

export interface IndexEntry {
  id: string;
  createdAt: number;
}

/** Which jobs a tenant has, by their creation: what `GET /v1/jobs` reads. Entries of removed jobs are dropped in passing. */
export class TenantIndex {
  readonly #topology: Topology;
  readonly #drop: ReturnType<typeof defineScript>;
  readonly #page: ReturnType<typeof defineScript>;

  constructor(topology: Topology) {
    this.#topology = topology;
    this.#drop = defineScript(
      topology.redis,
      'waggleIndexDrop',
      new URL('./index-drop.lua', import.meta.url),
      1,
    );
    this.#page = defineScript(
      topology.redis,
      'waggleIndexPage',
      new URL('./index-page.lua', import.meta.url),
      1,
    );
  }

  /** Notes jobs that are about to be written. Send it before the jobs, without waiting in between. */
  async add(tenant: string, createdAt: number, ids: readonly string[]): Promise<void> {
    const members = ids.flatMap((id) => [createdAt, id]);
    await Promise.all([
      this.#topology.redis.zadd(this.#key(tenant), ...members),
      this.dropSome(tenant, ids.length),
    ]);
  }

  /** Drops old entries now and then, as many as are added. To be called by whoever adds `count` of them. */
  async dropSome(tenant: string, count: number): Promise<void> {
    // By chance and not by count: a count could fall on the same tenant each time.
    if (Math.random() * DROP_EVERY < count) await this.#dropOldest(tenant, 2 * Math.max(count, DROP_EVERY));
  }

  /** Up to `count` entries after `cursor`, newest first. */
  async page(tenant: string, cursor: IndexEntry | null, count: number): Promise<IndexEntry[]> {
    const flat = (await this.#page(
      this.#key(tenant),
      cursor?.createdAt ?? '',
      cursor?.id ?? '',
      count,
    )) as string[];
    return entriesOf(flat);
  }

  /** Up to `count` of the oldest entries, but for the first `skipped`. */
  async oldest(tenant: string, skipped: number, count: number): Promise<IndexEntry[]> {
    const last = skipped + count - 1;
    const flat = await this.#topology.redis.zrange(
      this.#key(tenant),
      String(skipped),
      String(last),
      'WITHSCORES',
    );
    return entriesOf(flat);
  }

  async count(tenant: string): Promise<number> {
    return this.#topology.redis.zcard(this.#key(tenant));
  }

  /** Drops entries whose jobs were found gone, but for those whose jobs may still be on their way. */
  async dropVanished(tenant: string, entries: readonly IndexEntry[]): Promise<void> {
    const old = entries.filter((entry) => entry.createdAt < Date.now() - GRACE_MS);
    await this.remove(
      tenant,
      old.map((entry) => entry.id),
    );
  }

  /** Drops the entries of jobs that were removed. */
  async remove(tenant: string, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    await this.#topology.redis.zrem(this.#key(tenant), ...ids);
  }

  #dropOldest(tenant: string, most: number): Promise<unknown> {
    const prefix = this.#topology.prefix(this.#topology.shardOf(tenant));
    return this.#drop(this.#key(tenant), prefix, Date.now() - GRACE_MS, most);
  }

  #key(tenant: string): string {
    return this.#topology.keys.tenantJobs(this.#topology.shardOf(tenant), tenant);
  }
}

function entriesOf(flat: readonly string[]): IndexEntry[] {
  const entries: IndexEntry[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) {
    entries.push({ id: flat[i] ?? '', createdAt: Number(flat[i + 1]) });
  }
  return entries;
}
