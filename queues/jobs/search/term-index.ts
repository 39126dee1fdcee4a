import { defineScript } from '../../topology/scripts.ts';
import type { Topology } from '../../topology/topology.ts';
import type { IndexEntry } from './index-entry.ts';
import { endOf, entryOf, memberOf, membersOf } from './terms.ts';
import type { SearchedJob } from './terms.ts';

/** Members per command: some 200 microseconds of the server. */
const AT_ONCE = 200;

/**
 * What a tenant's jobs are found by: a sorted set of equal scores, so ordered by its members, one for each term of a job.
 * They cost the server some 5 microseconds and 170 bytes per term; a job has two at least, of its task and correlation id.
 */
export class TermIndex {
  readonly #topology: Topology;
  readonly #drop: ReturnType<typeof defineScript>;

  constructor(topology: Topology) {
    this.#topology = topology;
    const script = new URL('./drop-terms.lua', import.meta.url);
    this.#drop = defineScript(topology.redis, 'waggleTermsDrop', script, 1);
  }

  /** Notes jobs that are about to be written. Send it before the jobs, without waiting in between. */
  async add(tenant: string, jobs: readonly SearchedJob[]): Promise<void> {
    const key = this.#key(tenant);
    const scored = chunks(jobs.flatMap(membersOf)).map((members) =>
      members.flatMap((member) => ['0', member]),
    );
    await Promise.all(scored.map((some) => this.#topology.redis.zadd(key, ...some)));
  }

  /** Drops what jobs were found by that are removed. */
  async remove(tenant: string, jobs: readonly SearchedJob[]): Promise<void> {
    const key = this.#key(tenant);
    await Promise.all(
      chunks(jobs.flatMap(membersOf)).map((members) => this.#topology.redis.zrem(key, ...members)),
    );
  }

  /** How many jobs have the term. */
  count(tenant: string, term: string): Promise<number> {
    return this.#topology.redis.zlexcount(this.#key(tenant), `[${term}`, `(${endOf(term)}`);
  }

  /** Up to `count` jobs with the term after `cursor`, newest first. */
  async page(tenant: string, term: string, cursor: IndexEntry | null, count: number): Promise<IndexEntry[]> {
    const end = cursor === null ? endOf(term) : memberOf(term, cursor);
    const range = [`(${end}`, `[${term}`] as const;
    const members = await this.#topology.redis.zrevrangebylex(this.#key(tenant), ...range, 'LIMIT', 0, count);
    return members.map((member) => entryOf(member, term));
  }

  /** Drops the entries of a term whose jobs were found gone. */
  async drop(tenant: string, term: string, entries: readonly IndexEntry[]): Promise<void> {
    if (entries.length === 0) return;
    await this.#topology.redis.zrem(this.#key(tenant), ...entries.map((entry) => memberOf(term, entry)));
  }

  /** Looks at up to `most` entries, and drops those created before a time (ms epoch) whose jobs are gone. */
  async dropSome(tenant: string, before: number, most: number): Promise<void> {
    const prefix = this.#topology.prefix(this.#topology.shardOf(tenant));
    await this.#drop(this.#key(tenant), prefix, before, most);
  }

  #key(tenant: string): string {
    return this.#topology.keys.tenantTerms(this.#topology.shardOf(tenant), tenant);
  }
}

function chunks(members: readonly string[]): string[][] {
  const found: string[][] = [];
  for (let from = 0; from < members.length; from += AT_ONCE) found.push(members.slice(from, from + AT_ONCE));
  return found;
}
