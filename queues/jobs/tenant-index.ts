import { defineScript } from '../topology/scripts.ts';
import type { Topology } from '../topology/topology.ts';
import type { IndexEntry } from './search/index-entry.ts';
import { TermIndex } from './search/term-index.ts';
import type { SearchedJob } from './search/terms.ts';

/** A job is written right after its entry; an entry this old without a job will never have one. */
const GRACE_MS = 600_000;
/** Once per so many jobs the oldest entries are looked at, twice as many as jobs came: the index cannot outgrow them. */
const DROP_EVERY = 16;

/**
 * Which jobs a tenant has, by their creation, and by what they are found: what `GET /v1/jobs` reads. Entries of removed jobs
 * are dropped in passing.
 */
export class TenantIndex {
  readonly terms: TermIndex;
  readonly #topology: Topology;
  readonly #drop: ReturnType<typeof defineScript>;
  readonly #page: ReturnType<typeof defineScript>;

  constructor(topology: Topology) {
    this.#topology = topology;
    this.terms = new TermIndex(topology);
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
  async add(tenant: string, jobs: readonly SearchedJob[]): Promise<void> {
    const members = jobs.flatMap(({ id, createdAt }) => [createdAt, id]);
    await Promise.all([
      this.#topology.redis.zadd(this.#key(tenant), ...members),
      this.note(tenant, jobs),
      this.dropSome(tenant, jobs.length),
    ]);
  }

  /** All of {@link add} but the entries in the list of all, for who writes those in the transaction that adds the jobs. */
  async note(tenant: string, jobs: readonly SearchedJob[]): Promise<void> {
    const expiring = jobs.flatMap(({ id, expiresAt }) => (expiresAt === null ? [] : [{ id, expiresAt }]));
    await Promise.all([
      this.terms.add(tenant, jobs),
      ...expiring.map(({ id, expiresAt }) => this.noteExpiry(tenant, id, expiresAt)),
    ]);
  }

  /** Notes until when (ms epoch) a job may start. */
  async noteExpiry(tenant: string, id: string, expiresAt: number): Promise<void> {
    const { redis, keys } = this.#topology;
    await redis.zadd(keys.ttl(this.#topology.shardOf(tenant)), expiresAt, id);
  }

  /** Drops old entries now and then, as many as are added. To be called by whoever adds `count` of them. */
  async dropSome(tenant: string, count: number): Promise<void> {
    // By chance and not by count: a count could fall on the same tenant each time.
    if (Math.random() * DROP_EVERY >= count) return;
    const [before, most] = [Date.now() - GRACE_MS, 2 * Math.max(count, DROP_EVERY)];
    const prefix = this.#topology.prefix(this.#topology.shardOf(tenant));
    await Promise.all([
      this.#drop(this.#key(tenant), prefix, before, most),
      this.terms.dropSome(tenant, before, most),
    ]);
  }

  /** Up to `count` entries after `cursor`, newest first. */
  page(tenant: string, cursor: IndexEntry | null, count: number): Promise<IndexEntry[]> {
    return this.pageOf(this.#key(tenant), cursor, count);
  }

  /** The same of any sorted set of the tenant's shard with ids of jobs by their creation. */
  async pageOf(key: string, cursor: IndexEntry | null, count: number): Promise<IndexEntry[]> {
    const flat = (await this.#page(key, cursor?.createdAt ?? '', cursor?.id ?? '', count)) as string[];
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

  /** Of entries whose jobs were found gone: those whose jobs are not still on their way. */
  static outdated(entries: readonly IndexEntry[]): IndexEntry[] {
    return entries.filter((entry) => entry.createdAt < Date.now() - GRACE_MS);
  }

  /** Drops all entries of jobs that were removed. */
  async forget(tenant: string, jobs: readonly SearchedJob[]): Promise<void> {
    const { redis, keys } = this.#topology;
    const ids = jobs.map(({ id }) => id);
    const expiring = jobs.filter(({ expiresAt }) => expiresAt !== null).map(({ id }) => id);
    await Promise.all([
      this.remove(tenant, ids),
      this.terms.remove(tenant, jobs),
      ...expiring.map((id) => redis.zrem(keys.ttl(this.#topology.shardOf(tenant)), id)),
    ]);
  }

  /** Drops jobs from the list of all. */
  async remove(tenant: string, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    await this.#topology.redis.zrem(this.#key(tenant), ...ids);
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
