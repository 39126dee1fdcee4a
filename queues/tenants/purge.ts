import { randomUUID } from 'node:crypto';
import { Job } from 'bullmq';
import { WaggleError } from '../../src/shared/errors.ts';
import { isTenantId, queueOfJobId } from '../../src/shared/ids.ts';
import type { JobEnvelope } from '../jobs/envelope.ts';
import { CANCELLED, encodeFailure } from '../jobs/failure.ts';
import type { IndexEntry } from '../jobs/search/index-entry.ts';
import type { TenantIndex } from '../jobs/tenant-index.ts';
import { withRedis } from '../topology/redis-errors.ts';
import { scanKeys } from '../topology/scan-keys.ts';
import type { Topology } from '../topology/topology.ts';
import type { ApiKeys, Tenants } from './types.ts';

export interface PurgeProgress {
  /** Jobs that this call removed. */
  removed: number;
  /** Jobs that are left; 0 while only other records are. */
  remaining: number;
  done: boolean;
}

export interface Purges {
  /**
   * Removes everything a tenant owns, for as long as `keepOn` says so. What is left then is gone on with by workers, and
   * by whoever calls this again. Until it is done the tenant is closed: it starts nothing, and takes no jobs.
   * @throws WaggleError not_found for what is no tenant id
   */
  purge(tenant: string, keepOn: () => boolean): Promise<PurgeProgress>;
  /** Goes on with the purges of a shard that nobody is at. @returns how many jobs it removed */
  resume(shard: number, keepOn: () => boolean): Promise<number>;
}

/** What is removed together: some two milliseconds of Redis' time, in which it serves nobody else. */
const BATCH = 10;
const LEASE_MS = 10_000;
/** A job is written right after its entry in the index; one without by then will never come. Clocks may differ. */
const GRACE_MS = 30_000;
const CLOSED = { maxWaiting: 0, paused: true };
const PURGED = encodeFailure({
  code: CANCELLED,
  message: 'everything of its tenant is being removed',
  retryable: false,
});

/** Removes tenants job by job, so that no step keeps Redis for long, and a crash loses no more than the last one. */
export class TenantPurge implements Purges {
  readonly #topology: Topology;
  readonly #index: TenantIndex;
  readonly #tenants: Pick<Tenants, 'put' | 'remove'>;
  readonly #apiKeys: Pick<ApiKeys, 'removeAll'>;

  constructor(parts: {
    topology: Topology;
    index: TenantIndex;
    tenants: Pick<Tenants, 'put' | 'remove'>;
    apiKeys: Pick<ApiKeys, 'removeAll'>;
  }) {
    this.#topology = parts.topology;
    this.#index = parts.index;
    this.#tenants = parts.tenants;
    this.#apiKeys = parts.apiKeys;
  }

  async purge(tenant: string, keepOn: () => boolean): Promise<PurgeProgress> {
    if (!isTenantId(tenant)) throw new WaggleError('not_found', 'There is no such tenant.');
    return withRedis(async () => {
      const { redis, keys } = this.#topology;
      // From here on it is known, and ends whatever happens to this process.
      await redis.sadd(keys.purges(this.#topology.shardOf(tenant)), tenant);
      return this.#alone(tenant, keepOn);
    });
  }

  async resume(shard: number, keepOn: () => boolean): Promise<number> {
    return withRedis(async () => {
      const tenants = await this.#topology.redis.smembers(this.#topology.keys.purges(shard));
      let removed = 0;
      for (const tenant of tenants) {
        if (keepOn()) removed += (await this.#alone(tenant, keepOn)).removed;
      }
      return removed;
    });
  }

  /** One process at a time: two would do the same work, and one that is late could take what a new start has made. */
  async #alone(tenant: string, keepOn: () => boolean): Promise<PurgeProgress> {
    const { redis, keys } = this.#topology;
    const shard = this.#topology.shardOf(tenant);
    const lease = keys.purgeLease(shard, tenant);
    let progress: PurgeProgress = { removed: 0, remaining: await this.#index.count(tenant), done: false };
    const owner = randomUUID();
    if ((await redis.set(lease, owner, 'PX', LEASE_MS, 'NX')) !== 'OK') return progress;
    try {
      // Somebody may have finished it between the look and the lease.
      if ((await redis.sismember(keys.purges(shard), tenant)) === 0) return { ...progress, done: true };
      progress = await this.#remove(tenant, shard, keepOn);
      if (progress.done) await redis.srem(keys.purges(shard), tenant);
      return progress;
    } finally {
      if ((await redis.get(lease)) === owner) await redis.del(lease);
    }
  }

  async #remove(tenant: string, shard: number, keepOn: () => boolean): Promise<PurgeProgress> {
    await Promise.all([this.#tenants.put(tenant, CLOSED), this.#apiKeys.removeAll(tenant)]);
    const removed = await this.#removeJobs(tenant, shard, keepOn);
    let remaining = await this.#index.count(tenant);
    if (remaining > 0 || !(await this.#dropRecords(tenant, shard, keepOn)))
      return { removed, remaining, done: false };
    remaining = await this.#index.count(tenant);
    if (remaining > 0) return { removed, remaining, done: false };
    await this.#tenants.remove(tenant);
    return { removed, remaining, done: true };
  }

  /** @returns how many are gone. Those that cannot go yet are left for the next time. */
  async #removeJobs(tenant: string, shard: number, keepOn: () => boolean): Promise<number> {
    let [removed, left] = [0, 0];
    while (keepOn()) {
      const entries = await this.#index.oldest(tenant, left, BATCH);
      if (entries.length === 0) break;
      const outcomes = await Promise.all(entries.map((entry) => this.#removeJob(shard, entry)));
      const gone = entries.filter((_, place) => outcomes[place] !== 'left').map(({ id }) => id);
      const retired = gone.map((id) => `${queueOfJobId(id) ?? ''} ${id}`);
      if (gone.length > 0) {
        const { redis, keys } = this.#topology;
        await Promise.all([this.#index.remove(tenant, gone), redis.zrem(keys.retire(shard), ...retired)]);
      }
      left += entries.length - gone.length;
      removed += outcomes.filter((outcome) => outcome === 'removed').length;
      await this.#stay(tenant, shard);
    }
    return removed;
  }

  async #removeJob(shard: number, { id, createdAt }: IndexEntry): Promise<'removed' | 'absent' | 'left'> {
    const name = queueOfJobId(id);
    if (name === null) return 'absent';
    const { redis } = this.#topology;
    if ((await redis.exists(`${this.#topology.prefix(shard)}:${name}:${id}`)) === 0) {
      return createdAt < Date.now() - GRACE_MS ? 'absent' : 'left';
    }
    const queue = this.#topology.queue(shard, name);
    const backend = queue.getBackend();
    if ((await backend.remove(id, false)) === 1) return 'removed';
    const json = await backend.getJobData(id);
    if (json === undefined) return 'absent';
    // It runs: its worker hears of it, and may record nothing any more.
    await backend.failActive(Job.fromJSON<JobEnvelope>(queue, json, id), PURGED);
    return (await backend.remove(id, false)) === 1 ? 'removed' : 'left';
  }

  /** All that is named as the tenant's, but for the index: should a job have come meanwhile, it is found by that. */
  async #dropRecords(tenant: string, shard: number, keepOn: () => boolean): Promise<boolean> {
    const { redis, keys } = this.#topology;
    const index = keys.tenantJobs(shard, tenant);
    for await (const found of scanKeys(redis, `${keys.tenant(shard, tenant)}:*`)) {
      await Promise.all(found.filter((key) => key !== index).map((key) => redis.unlink(key)));
      await this.#stay(tenant, shard);
      if (!keepOn()) return false;
    }
    return true;
  }

  async #stay(tenant: string, shard: number): Promise<void> {
    await this.#topology.redis.pexpire(this.#topology.keys.purgeLease(shard, tenant), LEASE_MS);
  }
}
