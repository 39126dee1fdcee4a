import { MAX_RETAIN_MS } from '../../src/shared/limits.ts';
import { queueOfJobId } from '../../src/shared/ids.ts';
import { withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';
import type { JobEnvelope } from './envelope.ts';
import type { JobReader } from './reader.ts';
import { searchedOfRecord } from './search/terms.ts';
import type { SearchedJob } from './search/terms.ts';
import type { TenantIndex } from './tenant-index.ts';

export interface FinishedJob {
  queue: string;
  id: string;
  /** ms epoch */
  finishedAt: number;
  retainMs: number;
}

export interface Retention {
  /** Notes that a finished job goes `retainMs` after `finishedAt`. Called by whoever finished it. */
  schedule(shard: number, job: FinishedJob): Promise<void>;
  /** Removes jobs of the shard that are due, looking at up to `limit`. @returns how many jobs it removed */
  sweep(shard: number, limit: number): Promise<number>;
}

/** Whoever waits for a job still reads it once after its end, so even a job nobody wants to keep stays this long. */
const LEAST_RETAIN_MS = 5000;
const DAY_MS = 86_400_000;

/** A finished job whose time has come. */
interface DueJob {
  queue: string;
  id: string;
  envelope: JobEnvelope;
}

/**
 * Removes finished jobs, each at its own time. BullMQ's `removeOnComplete.age` cannot: it applies one job's age to the
 * whole queue, so a tenant that keeps little would remove the jobs of one that keeps much.
 *
 * The nodes of a flow go together, with its root, so that a flow that can be read is always whole.
 */
export class JobRetention implements Retention {
  readonly #topology: Topology;
  readonly #index: TenantIndex;
  readonly #reader: JobReader;

  constructor(topology: Topology, index: TenantIndex, reader: JobReader) {
    this.#topology = topology;
    this.#index = index;
    this.#reader = reader;
  }

  async schedule(shard: number, job: FinishedJob): Promise<void> {
    const at = job.finishedAt + Math.max(job.retainMs, LEAST_RETAIN_MS);
    await withRedis(() =>
      this.#topology.redis.zadd(this.#topology.keys.retire(shard), at, `${job.queue} ${job.id}`),
    );
  }

  async sweep(shard: number, limit: number): Promise<number> {
    return withRedis(async () => {
      const retire = this.#topology.keys.retire(shard);
      const members = await this.#topology.redis.zrangebyscore(retire, '-inf', Date.now(), 'LIMIT', 0, limit);
      const removed = await this.#removeAll(shard, members);
      if (members.length > 0) await this.#topology.redis.zrem(retire, ...members);
      if (members.length >= limit) return removed;
      return removed + (await this.#removeAll(shard, await this.#forgotten(shard, limit - members.length)));
    });
  }

  /** Jobs nobody scheduled, because the worker that finished them died right then. */
  async #forgotten(shard: number, limit: number): Promise<string[]> {
    const { redis } = this.#topology;
    const before = Date.now() - MAX_RETAIN_MS - DAY_MS;
    const found: string[] = [];
    for (const queue of await this.#topology.queueNames()) {
      for (const set of ['completed', 'failed']) {
        if (found.length >= limit) return found;
        const key = `${this.#topology.prefix(shard)}:${queue}:${set}`;
        const ids = await redis.zrangebyscore(key, '-inf', before, 'LIMIT', 0, limit - found.length);
        found.push(...ids.map((id) => `${queue} ${id}`));
      }
    }
    return found;
  }

  async #removeAll(shard: number, members: string[]): Promise<number> {
    const due = await Promise.all(members.map((member) => this.#dueJob(shard, member)));
    const counts = await Promise.all(
      due.flatMap((job) => (job === null ? [] : [this.#removeUnit(shard, job)])),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Null for a job that is gone, was retried since, or goes with its flow. */
  async #dueJob(shard: number, member: string): Promise<DueJob | null> {
    const [queue = '', id = ''] = member.split(' ');
    const [body, finishedOn] = await this.#topology.redis.hmget(
      this.#jobKey(shard, queue, id),
      'data',
      'finishedOn',
    );
    if (body == null || finishedOn == null) return null;
    const envelope = JSON.parse(body) as JobEnvelope;
    const flow = envelope.flow;
    if (flow !== null && flow.id !== id && (await this.#exists(shard, flow.id))) return null;
    return { queue, id, envelope };
  }

  /** A job, or all nodes of the flow it is the root of: the root last, since only it knows the others. */
  async #removeUnit(shard: number, { queue, id, envelope }: DueJob): Promise<number> {
    const { tenant } = envelope;
    const nodes = (envelope.nodes ?? []).filter((node) => node.id !== id);
    const gone = (await Promise.all(nodes.map((node) => this.#remove(shard, tenant, node)))).flat();
    gone.push(...(await this.#remove(shard, tenant, { queue, id })));
    await Promise.all([
      this.#index.forget(tenant, gone),
      this.#removeStreams(
        shard,
        tenant,
        gone.map((job) => job.id),
      ),
    ]);
    return gone.length;
  }

  async #removeStreams(shard: number, tenant: string, ids: readonly string[]): Promise<void> {
    const { redis, keys } = this.#topology;
    if (ids.length > 0) await redis.unlink(ids.map((id) => keys.jobStream(shard, tenant, id)));
  }

  /** Nothing when it is gone, or runs: a node that outlived its flow is scheduled again when it ends. */
  async #remove(shard: number, tenant: string, job: { queue: string; id: string }): Promise<SearchedJob[]> {
    const record = await this.#reader.record(tenant, job.id);
    if (record === null) return [];
    const removed = await this.#topology.queue(shard, job.queue).getBackend().remove(job.id, false);
    return removed === 1 ? [searchedOfRecord(record)] : [];
  }

  async #exists(shard: number, id: string): Promise<boolean> {
    return (await this.#topology.redis.exists(this.#jobKey(shard, queueOfJobId(id) ?? '', id))) === 1;
  }

  #jobKey(shard: number, queue: string, id: string): string {
    return `${this.#topology.prefix(shard)}:${queue}:${id}`;
  }
}
