import { Queue, createRedisBackend } from 'bullmq';
import type { BackendFactory, JobsOptions, RedisQueueBackend } from 'bullmq';
import { Redis } from 'ioredis';
import { createFairBackend } from '../queues/fair/index.ts';
import type { FairJobsOptions, FairQueueBackend } from '../queues/fair/index.ts';

/** `stock` is BullMQ with the backend it comes with. */
export type BackendName = 'stock' | 'fair';
export const BACKENDS: readonly BackendName[] = ['stock', 'fair'];

/** How jobs follow each other: dealt to one tenant after the other, or the same jobs in a random order. */
export type Order = 'round-robin' | 'shuffled';
export const ORDERS: readonly Order[] = ['round-robin', 'shuffled'];

export interface Workload {
  jobs: number;
  tenants: number;
  order: Order;
  /** What a tenant is called, followed by its number. */
  tenantName?: string;
  /** Keys per tenant, over which its jobs are spread evenly at random; none unless given. */
  keys?: number;
}

export interface BenchJob {
  name: string;
  data: { filler: string };
  opts: JobsOptions;
}

export function backendFactory(backend: BackendName): BackendFactory<RedisQueueBackend> {
  return backend === 'fair' ? createFairBackend() : createRedisBackend;
}

export function connectionTo(port: number): { host: string; port: number; maxRetriesPerRequest: null } {
  return { host: '127.0.0.1', port, maxRetriesPerRequest: null };
}

export const connectTo = (port: number): Redis => new Redis(connectionTo(port));

export function openQueue(name: string, backend: BackendName, port: number): Queue {
  const queue = new Queue(name, { connection: connectionTo(port) }, backendFactory(backend));
  queue.on('error', (error) => console.error(error));
  return queue;
}

/**
 * The jobs of a workload, alike for both backends but for the group, which only the fair one gets. They are made when they
 * are asked for: a million of them are never in memory together.
 */
export function* makeJobs(backend: BackendName, workload: Workload): Generator<BenchJob, void> {
  const payload = hundredBytes();
  const { keys = 0, tenants } = workload;
  let index = 0;
  for (const tenant of tenantsInOrder(workload)) {
    const name = `${workload.tenantName ?? 'tenant'}-${tenant}`;
    const key = keys > 0 ? { key: `session-${keyNumber(Math.floor(index++ / tenants), keys)}` } : {};
    const opts: FairJobsOptions = backend === 'fair' ? { group: { id: name, ...key } } : {};
    yield { name, data: payload, opts };
  }
}

/** Multiplicative hashing (Knuth): neighbours get unlike keys, and every run gets the same ones. */
const keyNumber = (index: number, keys: number): number => (Math.imul(index, 2654435761) >>> 0) % keys;

/** Gives every group limits that never hold one: what is measured is their price. */
export async function setWideLimits(queue: Queue): Promise<void> {
  await fairBackendOf(queue).setGroupLimits('*', {
    maxRunning: 1_000_000,
    rate: { limit: 1_000_000, periodMs: 1_000, burst: 1_000_000 },
  });
}

export const fairBackendOf = (queue: Queue): FairQueueBackend =>
  queue.getBackend() as unknown as FairQueueBackend;

/** A payload whose JSON is 100 bytes long. */
function hundredBytes(): { filler: string } {
  const around = JSON.stringify({ filler: '' }).length;
  return { filler: 'x'.repeat(100 - around) };
}

function* tenantsInOrder({ jobs, tenants, order }: Workload): Generator<number, void> {
  if (order === 'round-robin') for (let index = 0; index < jobs; index++) yield index % tenants;
  else yield* shuffle(Uint32Array.from({ length: jobs }, (_, index) => index % tenants));
}

/** Fisher and Yates with fixed pseudo-random numbers (xorshift32), so that every run gets the same order. */
function shuffle(values: Uint32Array): Uint32Array {
  let state = 2463534242;
  const below = (limit: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
  for (let last = values.length - 1; last > 0; last--) {
    const other = below(last + 1);
    [values[last], values[other]] = [values[other] as number, values[last] as number];
  }
  return values;
}

export function* chunksOf<T>(values: Iterable<T>, size: number): Generator<T[], void> {
  let chunk: T[] = [];
  for (const value of values) {
    chunk.push(value);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}

/** Milliseconds of the machine's monotonic clock, comparable between processes; not a date. */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;
