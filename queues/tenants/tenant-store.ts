import { WaggleError } from '../../src/shared/errors.ts';
import { DEFAULT_TENANT, isTenantId } from '../../src/shared/ids.ts';
import { TenantSettings } from '../../src/shared/tenant-schemas.ts';
import type { Tenant, TenantSettingsInput } from '../../src/shared/tenant-schemas.ts';
import { invalid, parse } from '../../src/shared/validate.ts';
import { DEFAULT_QUEUE } from '../jobs/prepare.ts';
import { withRedis } from '../topology/redis-errors.ts';
import type { FairQueueBackend } from '../fair/index.ts';
import type { Topology } from '../topology/topology.ts';
import type { Room } from './room.ts';
import { tenantIds } from './tenant-ids.ts';
import type { TenantIdQuery } from './tenant-ids.ts';
import type { Tenants } from './types.ts';

const FACTORY_SETTINGS = TenantSettings.parse({});
/** So old may the settings be by which a job is refused. */
const ROOM_CACHE_MS = 1000;
const ROOM_CACHE_MOST = 10_000;

interface StoredTenant {
  settings: TenantSettings;
  createdAt: number;
  updatedAt: number;
}

/** The settings of tenants, in the shard of each; what the scheduler needs of them is handed to it at once. */
export class TenantStore implements Tenants {
  readonly #topology: Topology;
  readonly #maxWaiting = new Map<string, { most: number | null; until: number }>();

  constructor(topology: Topology) {
    this.#topology = topology;
  }

  async put(id: string, settings: TenantSettingsInput): Promise<Tenant> {
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
      this.#forgetMaxWaiting(id);
      const { maxWaiting: _, ...limits } = valid;
      await this.#inItsShards(id, (backend) => backend.setGroupLimits(id, limits));
      return this.get(id);
    });
  }

  async get(id: string): Promise<Tenant> {
    if (!isKnownForm(id)) throw new WaggleError('not_found', 'There is no such tenant.');
    return withRedis(async () => {
      const backend = this.#backend(this.#topology.shardOf(id));
      const [own, defaults, pausedUntil] = await Promise.all([
        this.#read(id),
        this.#read(DEFAULT_TENANT),
        backend.getGroupPause(id),
      ]);
      return tenantView(id, own, defaults?.settings ?? FACTORY_SETTINGS, pausedUntil);
    });
  }

  async pause(id: string, forMs: number | null): Promise<Tenant> {
    await this.get(id);
    await withRedis(() => this.#inItsShards(id, (backend) => backend.pauseGroup(id, forMs)));
    return this.get(id);
  }

  async resume(id: string): Promise<Tenant> {
    await this.get(id);
    await withRedis(() => this.#inItsShards(id, (backend) => backend.resumeGroup(id)));
    return this.get(id);
  }

  async withRoom<T>(
    id: string,
    count: number,
    add: (room: Room) => Promise<T>,
    after?: Promise<unknown>,
  ): Promise<T> {
    const most = await this.#maxWaitingOf(id);
    if (most === null) return add({ jobs: count, most });
    await after?.catch(() => undefined);
    const held = await this.#backend(this.#topology.shardOf(id)).reserveRoom(id, most, count);
    try {
      return await add({ jobs: held.jobs, most });
    } finally {
      // It lapses by itself.
      await held.free().catch(() => undefined);
    }
  }

  async remove(id: string): Promise<void> {
    if (!isKnownForm(id)) throw new WaggleError('not_found', 'There is no such tenant.');
    await withRedis(async () => {
      const { redis, keys } = this.#topology;
      // Last what names the tenant: a removal that was cut short can be seen and repeated.
      await this.#inItsShards(id, (backend) => backend.setGroupLimits(id, null));
      await Promise.all([redis.del(this.#key(id)), redis.srem(keys.tenants, id)]);
      this.#forgetMaxWaiting(id);
    });
  }

  async list(): Promise<Tenant[]> {
    return withRedis(async () => {
      const ids = await this.#topology.redis.smembers(this.#topology.keys.tenants);
      return Promise.all(ids.sort().map((id) => this.get(id)));
    });
  }

  async ids(query: TenantIdQuery): Promise<string[]> {
    return withRedis(() => tenantIds(this.#topology, query));
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

  /** The defaults hold in every shard; what is a tenant's own in its shard alone. */
  async #inItsShards(id: string, change: (backend: FairQueueBackend) => Promise<void>): Promise<void> {
    const { shards } = this.#topology;
    const all =
      id === DEFAULT_TENANT
        ? Array.from({ length: shards }, (_, shard) => shard)
        : [this.#topology.shardOf(id)];
    await Promise.all(all.map((shard) => change(this.#backend(shard))));
  }

  /** Limits hold for all queues of a shard, so any queue of it will do. */
  #backend(shard: number): FairQueueBackend {
    return this.#topology.queue(shard, DEFAULT_QUEUE).getBackend();
  }

  async #maxWaitingOf(id: string): Promise<number | null> {
    const known = this.#maxWaiting.get(id);
    if (known && known.until > Date.now()) return known.most;
    const settings = (await this.#read(id)) ?? (await this.#read(DEFAULT_TENANT));
    const most = settings?.settings.maxWaiting ?? null;
    if (this.#maxWaiting.size >= ROOM_CACHE_MOST) this.#maxWaiting.clear();
    this.#maxWaiting.set(id, { most, until: Date.now() + ROOM_CACHE_MS });
    return most;
  }

  /** Other processes notice within {@link ROOM_CACHE_MS}. What holds for `*` may hold for any tenant. */
  #forgetMaxWaiting(id: string): void {
    if (id === DEFAULT_TENANT) this.#maxWaiting.clear();
    else this.#maxWaiting.delete(id);
  }

  #key(id: string): string {
    return this.#topology.keys.tenant(this.#topology.shardOf(id), id);
  }
}

function isKnownForm(id: string): boolean {
  return id === DEFAULT_TENANT || isTenantId(id);
}

function tenantView(
  id: string,
  own: StoredTenant | null,
  defaults: TenantSettings,
  pausedUntil: number | null,
): Tenant {
  return {
    id,
    ...(own?.settings ?? defaults),
    paused: pausedUntil !== null,
    pausedUntil: isoOrNull(pausedUntil),
    configured: own !== null,
    createdAt: isoOrNull(own?.createdAt ?? null),
    updatedAt: isoOrNull(own?.updatedAt ?? null),
  };
}

function isoOrNull(time: number | null): string | null {
  return time === null || time === Infinity ? null : new Date(time).toISOString();
}
