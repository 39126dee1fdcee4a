import { expect } from '@jest/globals';
import type { Engine } from '../../queues/engine.ts';

/** Tenants that compete; each has a weight and lives in a shard. */
export interface Contender {
  id: string;
  shard: number;
  weight: number;
}

/** One start of a job, by Redis' clock. */
export interface Start {
  tenant: string;
  queue: string;
  at: number;
}

/** For each shard the weights of its tenants -> tenants that live there. */
export function contenders(engine: Engine, weights: readonly (readonly number[])[]): Contender[] {
  const open = weights.map((ofShard) => [...ofShard]);
  const found: Contender[] = [];
  for (let number = 0; open.some((left) => left.length > 0); number += 1) {
    const id = `tenant-${number}`;
    const shard = engine.topology.shardOf(id);
    const weight = open[shard]?.shift();
    if (weight !== undefined) found.push({ id, shard, weight });
  }
  return found;
}

/** Stores the weights of those who have none of their own by default. */
export async function weigh(engine: Engine, tenants: readonly Contender[]): Promise<void> {
  const own = tenants.filter(({ weight }) => weight !== 1);
  await Promise.all(own.map(({ id, weight }) => engine.tenants.put(id, { weight })));
}

/** Makes queues of all shards start nothing for the time being. */
export async function hold(engine: Engine, queues: readonly string[]): Promise<void> {
  for (const queue of allQueues(engine, queues)) await queue.pause();
}

/** Lets them start, and keep every event from now on. */
export async function letGo(engine: Engine, queues: readonly string[]): Promise<void> {
  const all = allQueues(engine, queues);
  for (const queue of all)
    await engine.topology.redis.hset(queue.toKey('meta'), 'opts.maxLenEvents', 1_000_000);
  // At once: the first to go would have every slot until the others follow.
  await Promise.all(all.map((queue) => queue.resume()));
}

export async function completedIn(engine: Engine, queues: readonly string[]): Promise<number> {
  const counts = await Promise.all(allQueues(engine, queues).map((queue) => queue.getCompletedCount()));
  return counts.reduce((sum, count) => sum + count, 0);
}

function allQueues(engine: Engine, names: readonly string[]): ReturnType<Engine['topology']['queue']>[] {
  const shards = Array.from({ length: engine.topology.shards }, (_, shard) => shard);
  return names.flatMap((name) => shards.map((shard) => engine.topology.queue(shard, name)));
}

/** Whose jobs have started, in order, as the events of all shards tell; `tenantOf` maps ids of jobs. */
export async function startsOf(
  engine: Engine,
  queues: readonly string[],
  tenantOf: ReadonlyMap<string, string>,
): Promise<Start[]> {
  const starts: Start[] = [];
  for (const queue of allQueues(engine, queues)) {
    const events = await engine.topology.redis.xrange(queue.toKey('events'), '-', '+');
    for (const [id, fields] of events) {
      const tenant = fields[1] === 'active' ? tenantOf.get(fields[3] ?? '') : undefined;
      if (tenant !== undefined) starts.push({ tenant, queue: queue.name, at: Number(id.split('-')[0]) });
    }
  }
  return starts.sort((one, other) => one.at - other.at);
}

/** That everybody's starts, divided by its weight, are the same within `tolerance`. */
export function expectEqualShares(
  starts: readonly Start[],
  tenants: readonly Contender[],
  tolerance = 0.1,
): void {
  const counts = new Map<string, number>();
  for (const { tenant } of starts) counts.set(tenant, (counts.get(tenant) ?? 0) + 1);
  const weight = tenants.reduce((sum, tenant) => sum + tenant.weight, 0);
  const mean = starts.length / weight;
  const off = tenants
    .map(({ id, shard, weight }) => ({ shard, weight, share: (counts.get(id) ?? 0) / weight / mean }))
    .filter(({ share }) => Math.abs(share - 1) > tolerance);
  expect(off).toEqual([]);
}
