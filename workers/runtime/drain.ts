import type { RedisConnection } from '../../queues/topology/connections.ts';
import type { Logger } from '../../src/shared/logger.ts';
import type { CancelListener } from './cancel-listener.ts';
import type { Consequences } from './consequences.ts';
import { settlesWithin } from './deadline.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Doorbells } from './doorbells.ts';
import type { Executor } from './executor.ts';
import type { LimitBalancer } from './limit-balancer.ts';
import type { LockKeeper } from './lock-keeper.ts';
import type { Maintenance } from './maintenance.ts';
import type { ShardSource } from './source.ts';
import type { UsageAccount } from './usage-account.ts';

export interface DrainParts {
  dispatcher: Dispatcher;
  doorbells: Doorbells;
  executor: Executor;
  consequences: Consequences;
  maintenance: Maintenance;
  usage: UsageAccount;
  balancer: LimitBalancer;
  cancels: CancelListener;
  locks: LockKeeper;
  sources: readonly ShardSource[];
  commands: RedisConnection;
}

/** Bound of each step that asks Redis, which may be gone. */
const STEP_MS = 2000;

/**
 * Ends a worker: no more claims, time for running jobs, then the abort that hands them back, then the connections, the
 * commands' last since everything before may still need them. Every step is bounded: what Redis was not told by then,
 * the stalled check of another worker finds out.
 */
export async function drainWorker(
  parts: DrainParts,
  options: { drainMs: number; graceMs: number; logger: Logger },
): Promise<void> {
  const { dispatcher, executor } = parts;
  const { logger } = options;
  logger.info({ active: executor.running }, 'draining');
  dispatcher.stopClaiming();
  await settlesWithin(stopListening(parts), STEP_MS);
  if (!(await settlesWithin(dispatcher.idle(), options.drainMs))) await handBack(executor, options);
  await settlesWithin(parts.consequences.settled(), STEP_MS);
  const others = [parts.maintenance.stop(), parts.usage.stop(), parts.balancer.stop()];
  await settlesWithin(Promise.all(others), STEP_MS);
  await closeAll(parts);
  logger.info('drained');
}

/** The listener stops first: news it takes from Redis now would be lost on us. */
async function stopListening({ doorbells }: DrainParts): Promise<void> {
  await settlesWithin(doorbells.stop(), STEP_MS / 2);
  doorbells.disconnect();
}

async function handBack(executor: Executor, options: { graceMs: number; logger: Logger }): Promise<void> {
  options.logger.info({ active: executor.running }, 'time to drain is over; handing jobs back');
  executor.shutDown();
  if (await settlesWithin(executor.recorded(), options.graceMs + STEP_MS)) return;
  executor.abandonRecords();
  options.logger.warn(
    { active: executor.running },
    'jobs could not be handed back; they come back when their locks expire',
  );
}

async function closeAll({ locks, cancels, sources, commands }: DrainParts): Promise<void> {
  locks.stop();
  cancels.stop();
  await settlesWithin(Promise.all(sources.map((source) => source.close(true))), STEP_MS);
  // Nothing of ours is under way any more, or it has had its time.
  commands.disconnect();
}
