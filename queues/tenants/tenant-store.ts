import { WaggleError } from '../../src/shared/errors.ts';
import { DEFAULT_TENANT, isTenantId } from '../../src/shared/ids.ts';
import { TenantSettings } from '../../src/shared/schemas.ts';
import type { Tenant } from '../../src/shared/schemas.ts';
import { invalid, parse } from '../../src/shared/validate.ts';
import { DEFAULT_QUEUE } from '../jobs/prepare.ts';
import { withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';
import type { Tenants } from './types.ts';

const FACTORY_SETTINGS: TenantSettings = { weight: 1 };

interface StoredTenant {
  settings: TenantSettings;
  createdAt: number;
  updatedAt: number;
}

/** The settings of tenants, in the shard of each; what the scheduler needs of them is handed to it at once. */
export class TenantStore implements Tenants {
  readonly #topology: Topology;

  constructor(topology: Topology) {
    this.#topology = topology;
  }

  async put(id: string, settings: TenantSettings): Promise<Tenant> {
    if (!isKnownForm(id)) throw invalid('validation', [{ path: 'id', message: 'is not a tenant id' }]);
    const valid = parse(TenantSettings, settings);
    return withRedis(async () => {
      const { redis, keys } = this.#topology;
      const key = this.#key(id);
      const now = Date.now();
      await Promise.all([
        redis.hsetnx(key, 'createdAt', now),
        redis.hset(key, 'settings', JSON.stringify(valid), 'updatedAt', now),
        redis.sadd(keys.tenants, id),
      ]);
      await this.#applyWeight(id, valid.weight);
      return this.get(id);
    });
  }

  async get(id: string): Promise<Tenant> {
    if (!isKnownForm(id)) throw new WaggleError('not_found', 'There is no such tenant.');
    return withRedis(async () => {
      const [own, defaults] = await Promise.all([this.#read(id), this.#read(DEFAULT_TENANT)]);
      return tenantView(id, own, defaults?.settings ?? FACTORY_SETTINGS);
    });
  }

  async list(): Promise<Tenant[]> {
    return withRedis(async () => {
      const ids = await this.#topology.redis.smembers(this.#topology.keys.tenants);
      return Promise.all(ids.sort().map((id) => this.get(id)));
    });
  }

  async #read(id: string): Promise<StoredTenant | null> {
    const [settings, createdAt, updatedAt] = await this.#topology.redis.hmget(
      this.#key(id),
      'settings',
      'createdAt',
      'updatedAt',
    );
    if (settings == null) return null;
    return {
      settings: { ...FACTORY_SETTINGS, ...(JSON.parse(settings) as Partial<TenantSettings>) },
      createdAt: Number(createdAt),
      updatedAt: Number(updatedAt),
    };
  }

  /** The defaults hold in every shard; a tenant's own weight in its shard alone. */
  async #applyWeight(id: string, weight: number): Promise<void> {
    const { shards } = this.#topology;
    const all =
      id === DEFAULT_TENANT
        ? Array.from({ length: shards }, (_, shard) => shard)
        : [this.#topology.shardOf(id)];
    await Promise.all(
      all.map((shard) => this.#topology.queue(shard, DEFAULT_QUEUE).getBackend().setGroupWeight(id, weight)),
    );
  }

  #key(id: string): string {
    return this.#topology.keys.tenant(this.#topology.shardOf(id), id);
  }
}

function isKnownForm(id: string): boolean {
  return id === DEFAULT_TENANT || isTenantId(id);
}

function tenantView(id: string, own: StoredTenant | null, defaults: TenantSettings): Tenant {
  return {
    id,
    weight: (own?.settings ?? defaults).weight,
    configured: own !== null,
    createdAt: own === null ? null : new Date(own.createdAt).toISOString(),
    updatedAt: own === null ? null : new Date(own.updatedAt).toISOString(),
  };
}
