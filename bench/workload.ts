import { Queue, createRedisBackend } from 'bullmq';
import type { BackendFactory, JobsOptions, RedisQueueBackend } from 'bullmq';
import { Redis } from 'ioredis';
import { createFairBackend } from '../queues/fair/index.ts';
import type { FairJobsOptions } from '../queues/fair/index.ts';

/** `stock` is BullMQ with the backend it comes with. */
export type BackendName = 'stock' | 'fair';

/** How jobs follow each other: dealt to one tenant after the other, or the same jobs in a random order. */
export type Order = 'round-robin' | 'shuffled';
export const ORDERS: readonly Order[] = ['round-robin', 'shuffled'];

export interface Workload {
  jobs: number;
  tenants: number;
  order: Order;
  /** What a tenant is called, followed by its number. */
  tenantName?: string;
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

/** The jobs of a workload, alike for both backends but for the group, which only the fair one gets. */
export function makeJobs(backend: BackendName, workload: Workload): BenchJob[] {
  const payload = hundredBytes();
  return tenantsInOrder(workload).map((tenant) => {
    const name = `${workload.tenantName ?? 'tenant'}-${tenant}`;
    const opts: FairJobsOptions = backend === 'fair' ? { group: { id: name } } : {};
    return { name, data: payload, opts };
  });
}

/** A payload whose JSON is 100 bytes long. */
function hundredBytes(): { filler: string } {
  const around = JSON.stringify({ filler: '' }).length;
  return { filler: 'x'.repeat(100 - around) };
}

function tenantsInOrder({ jobs, tenants, order }: Workload): number[] {
  const dealt = Array.from({ length: jobs }, (_, index) => index % tenants);
  return order === 'round-robin' ? dealt : shuffle(dealt);
}

/** Fisher and Yates with fixed pseudo-random numbers (xorshift32), so that every run gets the same order. */
function shuffle(values: number[]): number[] {
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

export function chunksOf<T>(values: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, index) =>
    values.slice(index * size, (index + 1) * size),
  );
}

/** Milliseconds of the machine's monotonic clock, comparable between processes; not a date. */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;
