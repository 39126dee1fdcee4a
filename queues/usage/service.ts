import { WaggleError } from '../../src/shared/errors.ts';
import { isTenantId } from '../../src/shared/ids.ts';
import type { Usage } from '../../src/shared/tenant-schemas.ts';
import type { Tenants } from '../tenants/types.ts';
import { withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';
import type { UsageBook } from './book.ts';
import { standingOf } from './standing.ts';
import { windowsOf } from './windows.ts';

export interface UsageReader {
  /** What a tenant may use, has waiting and has got. @throws WaggleError not_found for what is no tenant id */
  of(tenant: string): Promise<Usage>;
}

/** Answers what a tenant uses. Reads only; the cost grows with the number of queues and shards, and nothing else. */
export class UsageService implements UsageReader {
  readonly #topology: Topology;
  readonly #tenants: Pick<Tenants, 'get'>;
  readonly #book: UsageBook;

  constructor(topology: Topology, tenants: Pick<Tenants, 'get'>, book: UsageBook) {
    this.#topology = topology;
    this.#tenants = tenants;
    this.#book = book;
  }

  async of(tenant: string): Promise<Usage> {
    // The defaults of all tenants, `*`, are not a tenant.
    if (!isTenantId(tenant)) throw new WaggleError('not_found', 'There is no such tenant.');
    return withRedis(async () => {
      const [settings, standing, { minutes, running }] = await Promise.all([
        this.#tenants.get(tenant),
        standingOf(this.#topology, tenant),
        this.#book.read(tenant),
      ]);
      const { id, createdAt: _createdAt, updatedAt: _updatedAt, ...limits } = settings;
      const { runnable, ...now } = standing;
      return {
        tenant: id,
        limits,
        ...now,
        windows: windowsOf(minutes, running, runnable ? settings.weight : null),
      };
    });
  }
}
