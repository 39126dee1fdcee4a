import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { QueueDepth, QueueDepths } from '../../queues/usage/depths.ts';

/** Whoever may read the metrics may do so as often as they like; Redis is asked this seldom... */
const LEAST_AGE_MS = 2000;
/** ...and is at it for a twentieth of the time at most, however many queues there are. */
const PAUSE_PER_READ = 20;

/**
 * What the queues hold, as every API process sees it: of several processes, take the maximum and not the sum. While Redis
 * is away there are no values, but `waggle_redis_up` is 0. No label carries a tenant: there may be any number of them.
 * @returns brings the values up to date; never rejects
 */
export function queueMetrics(registry: Registry, depths: Pick<QueueDepths, 'read'>): () => Promise<void> {
  const registers = [registry];
  const up = new Gauge({ name: 'waggle_redis_up', help: 'Whether Redis answers: 1 or 0.', registers });
  const jobs = new Gauge({
    name: 'waggle_queue_jobs',
    help: 'Jobs in a queue by state; finished ones while they are kept.',
    labelNames: ['queue', 'state'],
    registers,
  });
  const tenants = new Gauge({
    name: 'waggle_queue_tenants',
    help: 'Tenants with waiting jobs in a queue: runnable, or held back by their limits.',
    labelNames: ['queue', 'state'],
    registers,
  });
  const oldest = new Gauge({
    name: 'waggle_queue_oldest_waiting_seconds',
    help: 'How long the longest waiting among the next jobs of tenants has been due; 0 when none waits.',
    labelNames: ['queue'],
    registers,
  });
  const set = (all: readonly QueueDepth[]): void => {
    for (const gauge of [jobs, tenants, oldest]) gauge.reset();
    for (const depth of all) {
      const { queue } = depth;
      for (const [state, count] of Object.entries(depth.jobs)) jobs.set({ queue, state }, count);
      for (const [state, count] of Object.entries(depth.tenants)) tenants.set({ queue, state }, count);
      oldest.set({ queue }, (depth.oldestMs ?? 0) / 1000);
    }
  };
  const refresh = async (): Promise<void> => {
    try {
      set(await depths.read());
      up.set(1);
    } catch {
      set([]);
      up.set(0);
    }
  };
  let dueAt = -Infinity;
  let reading = Promise.resolve();
  const read = async (): Promise<void> => {
    const startedAt = performance.now();
    dueAt = Infinity;
    await refresh();
    const tookMs = performance.now() - startedAt;
    dueAt = startedAt + Math.max(LEAST_AGE_MS, tookMs * PAUSE_PER_READ);
  };
  return () => {
    if (performance.now() >= dueAt) reading = read();
    return reading;
  };
}
