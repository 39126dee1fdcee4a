import type { Dedupe } from '../../../src/shared/dedupe-schemas.ts';
import type { Job, JobRequest } from '../../../src/shared/schemas.ts';
import type { Accepted } from '../../../queues/jobs/types.ts';
import { context } from './engine.ts';
import type { TestEngine } from './engine.ts';
import { latch } from './latch.ts';
import type { Latch } from './latch.ts';

export const LONG_MS = 3_600_000;

export type Fields = { ttlMs?: number; id?: string; tenant?: string } & Partial<JobRequest>;

/** Enqueues `work` with a payload and a deduplication of id `d`. */
export function addDeduplicated(
  engine: TestEngine,
  mode: Dedupe['mode'],
  payload: unknown,
  { ttlMs, id = 'd', tenant = 'acme', ...fields }: Fields = {},
): Promise<Accepted> {
  const dedupe = { id, mode, ...(ttlMs === undefined ? {} : { ttlMs }) };
  return engine.jobs.accept(tenant, { task: 'work', payload, dedupe, ...fields }, context);
}

export const endOf = (engine: TestEngine, id: string): Promise<Job> =>
  engine.jobs.waitUntilFinished('acme', id, 60_000);

export const countJobs = async (engine: TestEngine): Promise<number> =>
  (await engine.jobs.list('acme', { limit: 200 })).jobs.length;

export interface Holding {
  opened: Latch;
  started: Latch;
  /** The payloads of the jobs that were started. */
  seen: unknown[];
}

/** A worker that holds each job until `opened`, and says when one has `started`. */
export function holdingWorker(engine: TestEngine): Holding {
  const [opened, started] = [latch(), latch()];
  const seen: unknown[] = [];
  engine.work('acme', async ({ data: { payload } }) => {
    seen.push(payload);
    started.open();
    await opened.opened;
    return payload;
  });
  return { opened, started, seen };
}
