import type { Engine } from '../../../queues/engine.ts';
import { DEFAULT_TENANT } from '../../shared/ids.ts';
import type { ListedTenant, TenantList } from './list-page.ts';
import type { TenantDetail, TenantWork } from './tenant-page.ts';

/**
 * A page of the list holds 100 tenants at most. What each of them has waiting takes a look into every queue, and of these
 * a page takes no more than `looks`: it holds fewer tenants then, and where that would be less than `least`, 100 again,
 * of which only the settings are read.
 */
const PAGE = { most: 100, least: 10, looks: 2000 };
/** Tenants that are read at once, so that a page does not hold up the other callers of this process. */
const AT_ONCE = 8;
const LATEST_JOBS = 20;

/** What the list is asked for. */
export interface ListQuery {
  id: string;
  cursor: string | undefined;
}

export interface IdPage {
  ids: string[];
  /** The cursor of the next page; null on the last one. */
  nextCursor: string | null;
  /** Whether their work is looked at as well. */
  withWork: boolean;
}

/** The ids of a page. One more is read, to know whether there is a next one. */
export async function readIds({ tenants, topology }: Engine, { id, cursor }: ListQuery): Promise<IdPage> {
  const queues = await topology.queueNames();
  const fitting = Math.floor(PAGE.looks / Math.max(queues.length, 1));
  const withWork = fitting >= PAGE.least;
  const limit = withWork ? Math.min(PAGE.most, fitting) : PAGE.most;
  const found = await tenants.ids({ prefix: id, after: cursor ?? '', limit: limit + 1 });
  const ids = found.slice(0, limit);
  return { ids, nextCursor: found.length > limit ? (ids.at(-1) ?? null) : null, withWork };
}

/** What a page of the list shows; the defaults stand on top of the first one. */
export async function readList(engine: Engine, query: ListQuery, page: IdPage): Promise<TenantList> {
  const isFirst = query.cursor === undefined;
  const { ids, nextCursor, withWork } = page;
  const [defaults, tenants] = await Promise.all([
    isFirst && query.id === '' ? engine.tenants.get(DEFAULT_TENANT) : null,
    eachOf(ids, (id) => readListed(engine, id, withWork)),
  ]);
  return { search: query.id, isFirst, defaults, tenants, withWork, nextCursor };
}

async function readListed({ tenants, usage }: Engine, id: string, withWork: boolean): Promise<ListedTenant> {
  if (!withWork) return { id, settings: await tenants.get(id), work: null };
  const work = await usage.of(id);
  return { id, settings: work.limits, work };
}

/** Reads something for each of some ids, a few at a time. @returns it in their order */
async function eachOf<T>(ids: readonly string[], read: (id: string) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  const left = ids.entries();
  const readOn = async (): Promise<void> => {
    for (const [place, id] of left) results[place] = await read(id);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, readOn));
  return results;
}

/** What the page of one tenant shows. @throws WaggleError not_found for what is no tenant id */
export async function readTenant(engine: Engine, id: string): Promise<TenantDetail> {
  const tenant = await engine.tenants.get(id);
  return { tenant, work: id === DEFAULT_TENANT ? null : await readWork(engine, id) };
}

async function readWork({ usage, jobs, topology }: Engine, id: string): Promise<TenantWork> {
  const [used, latest, dead] = await Promise.all([
    usage.of(id),
    jobs.list(id, { limit: LATEST_JOBS }),
    jobs.list(id, { limit: LATEST_JOBS, state: 'failed' }),
  ]);
  return { shard: topology.shardOf(id), usage: used, jobs: latest.jobs, deadLetters: dead.jobs };
}
