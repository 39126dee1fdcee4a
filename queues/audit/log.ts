import type { AuditEntry, AuditPage, AuditQuery } from '../../src/shared/audit-schemas.ts';
import { withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';

/** What is known of an act when it is recorded; Redis gives the id and with it the time. */
export type AuditAct = Omit<AuditEntry, 'id' | 'at'>;

export interface AuditLog {
  /** Records an act for good, as far as there is room. @throws WaggleError redis_unavailable */
  append(act: AuditAct): Promise<void>;
  /** A page of entries, newest first. It may hold fewer than `limit` and still name a next one. */
  page(query: AuditQuery): Promise<AuditPage>;
}

/** About so many entries are kept, the newest. */
const KEPT = 100_000;
const TARGET_CHARS = 512;
const DETAIL_CHARS = 2048;
/** How many entries one call looks at, whatever it finds. */
const BUDGET = 2000;
const CHUNK = 200;

/** Who administered what and when: one stream for all shards, since an act may concern any of them. */
export class AuditStream implements AuditLog {
  readonly #topology: Topology;

  constructor(topology: Topology) {
    this.#topology = topology;
  }

  async append(act: AuditAct): Promise<void> {
    const { redis, keys } = this.#topology;
    const bounded = { ...act, target: act.target.slice(0, TARGET_CHARS), detail: boundedDetail(act.detail) };
    await withRedis(() => redis.xadd(keys.audit, 'MAXLEN', '~', KEPT, '*', 'act', JSON.stringify(bounded)));
  }

  async page({ tenant, action, limit, cursor }: AuditQuery): Promise<AuditPage> {
    const entries: AuditEntry[] = [];
    let last = cursor;
    for (let examined = 0; examined < BUDGET; examined += CHUNK) {
      const chunk = await this.#before(last);
      for (const entry of chunk) {
        last = entry.id;
        if (tenant !== undefined && entry.tenant !== tenant) continue;
        if (action !== undefined && entry.action !== action) continue;
        entries.push(entry);
        if (entries.length === limit) return { entries, nextCursor: last };
      }
      if (chunk.length < CHUNK) return { entries, nextCursor: null };
    }
    return { entries, nextCursor: last ?? null };
  }

  async #before(id: string | undefined): Promise<AuditEntry[]> {
    const { redis, keys } = this.#topology;
    const from = id === undefined ? '+' : `(${id}`;
    const found = await withRedis(() => redis.xrevrange(keys.audit, from, '-', 'COUNT', CHUNK));
    return found.map(([entryId, [, act = '{}']]) => ({
      id: entryId,
      at: new Date(Number.parseInt(entryId, 10)).toISOString(),
      ...(JSON.parse(act) as AuditAct),
    }));
  }
}

function boundedDetail(detail: AuditAct['detail']): AuditAct['detail'] {
  return JSON.stringify(detail).length <= DETAIL_CHARS ? detail : { tooLong: true };
}
