import { DEFAULT_TENANT, isTenantId } from '../../src/shared/ids.ts';
import type { Topology } from '../topology/topology.ts';

export interface TenantIdQuery {
  /** Only ids that begin with it; all of them when it is empty. */
  prefix: string;
  /** Only ids that come after it. */
  after: string;
  limit: number;
}

/** Ids that one step looks at, a fraction of a millisecond of Redis' time. */
const STEP = 1000;

/**
 * The first ids of configured tenants, sorted, without `*`. Redis goes through all of them in short steps, and no more
 * than a page is held here, however many there are.
 */
export async function tenantIds(
  { redis, keys }: Topology,
  { prefix, after, limit }: TenantIdQuery,
): Promise<string[]> {
  // The beginning of an id is one; what is none matches nothing, and is no pattern for Redis.
  if (prefix !== '' && !isTenantId(prefix)) return [];
  let first: string[] = [];
  let cursor = '0';
  do {
    const [next, found] = await redis.sscan(keys.tenants, cursor, 'MATCH', `${prefix}*`, 'COUNT', STEP);
    const wanted = found.filter((id) => id !== DEFAULT_TENANT && id > after);
    // One may come twice.
    first = [...new Set([...first, ...wanted])].sort().slice(0, limit);
    cursor = next;
  } while (cursor !== '0');
  return first;
}
