import { DEFAULT_QUEUE } from '../jobs/prepare.ts';
import { withRedis } from '../topology/redis-errors.ts';
import { defineScript } from '../topology/scripts.ts';
import type { Topology } from '../topology/topology.ts';
import type { Counts, TenantCounts } from './tally.ts';
import type { Minute } from './windows.ts';

/** What a sender has not been told is booked. */
export interface UsageBatch {
  /** Never used by anybody else. */
  sender: string;
  /** From 1, growing; while a batch is not answered, no other one of its sender and shard is sent. */
  number: number;
  tenants: readonly TenantCounts[];
}

/**
 * What tenants used, in whole minutes of Redis' clock, for an hour. A tenant's minutes are fields of one hash, a few
 * bytes each, and so are the sums of a shard: a read takes one command for each shard, whatever the number of tenants.
 */
export class UsageBook {
  readonly #topology: Topology;
  readonly #add: ReturnType<typeof defineScript>;

  constructor(topology: Topology) {
    this.#topology = topology;
    this.#add = defineScript(topology.redis, 'waggleUsageAdd', new URL('./add.lua', import.meta.url), 2);
  }

  /**
   * Books a batch, once however often it is sent.
   * @throws WaggleError redis_unavailable; whether it was booked is open then
   */
  async add(shard: number, { sender, number, tenants }: UsageBatch): Promise<void> {
    const { keys } = this.#topology;
    await withRedis(async () => {
      const backend = this.#topology.queue(shard, DEFAULT_QUEUE).getBackend();
      const weights = await backend.getGroupWeights(tenants.map(({ tenant }) => tenant));
      const entries = tenants.map(({ tenant, counts }, place) => [
        keys.tenantUsage(shard, tenant),
        weights[place] ?? 1,
        counts,
      ]);
      await this.#add(keys.usage(shard), keys.usageSender(shard, sender), number, JSON.stringify(entries));
    });
  }

  /** The minutes of the last hour in which anybody used anything, and the minute that runs. */
  async read(tenant: string): Promise<{ minutes: Minute[]; running: number }> {
    const { redis, shards, keys } = this.#topology;
    const own = redis.hgetall(keys.tenantUsage(this.#topology.shardOf(tenant), tenant));
    // One command each, sent together: a pipeline would not do more, and not on a cluster.
    const sums = Array.from({ length: shards }, (_, shard) => redis.hgetall(keys.usage(shard)));
    const [time, counts, ...all] = await Promise.all([redis.time(), own, ...sums]);
    return { minutes: joined(counts, all), running: Math.floor(Number(time[0]) / 60) };
  }
}

function joined(own: Record<string, string>, shards: readonly Record<string, string>[]): Minute[] {
  const minutes = new Map<number, Minute>();
  const minuteOf = (field: string): Minute => {
    const minute = Number.parseInt(field, 10);
    const known = minutes.get(minute) ?? { minute, units: 0, weight: 0, own: {} };
    minutes.set(minute, known);
    return known;
  };
  for (const [field, counts] of Object.entries(own)) minuteOf(field).own = JSON.parse(counts) as Counts;
  for (const [field, sum] of shards.flatMap((each) => Object.entries(each))) {
    minuteOf(field)[field.endsWith(':units') ? 'units' : 'weight'] += Number(sum);
  }
  return [...minutes.values()];
}
