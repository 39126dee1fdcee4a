import type { z } from 'zod';
import type { BatchResponse, Flow, FlowReceipt, Job, JobPage, Why } from '../../../shared/schemas.ts';
import type { BatchRequest, BatchResult } from '../../../shared/schemas.ts';
import type { LogPage } from '../../../shared/stream-schemas.ts';

/** What the document shows of jobs and flows: one story, so that an id in one place is met again in another. */

const JOB_ID = 'default.01JZ3QK0M4Y8W6T2N5R7S9V1XC';
const ROOT_ID = 'default.01JZ3QM2B6N8P4R5T7V9X1Z3A5';
const CHILD_ID = 'default.01JZ3QM2B7C8D9E1F2G3H4J5K6';

export const job: Job = {
  id: JOB_ID,
  tenant: 'acme',
  task: 'echo',
  queue: 'default',
  state: 'completed',
  payload: { hello: 'world' },
  result: { hello: 'world' },
  error: null,
  progress: null,
  attempts: { made: 1, max: 1 },
  priority: 0,
  key: null,
  tags: ['greeting'],
  correlationId: 'req-7f3a',
  flow: null,
  createdAt: '2026-11-27T12:00:00.000Z',
  runAt: '2026-11-27T12:00:00.000Z',
  startedAt: '2026-11-27T12:00:00.012Z',
  finishedAt: '2026-11-27T12:00:00.015Z',
};

export const bulkJob: Job = {
  ...job,
  id: 'default.01JZ3QM9R1S2T3V4W5X6Y7Z8A9',
  task: 'jobs.bulk',
  state: 'waiting',
  payload: { action: 'retry', filter: { state: 'failed' }, before: '2026-11-27T12:00:00.000Z' },
  result: null,
  attempts: { made: 0, max: 10 },
  tags: [],
  startedAt: null,
  finishedAt: null,
};

export const jobPage: JobPage = { jobs: [job], nextCursor: null };

export const why: Why = {
  state: 'delayed',
  runnable: false,
  blockedBy: [
    {
      gate: 'delayed',
      detail: 'It is not due before 2026-11-27T12:05:00.000Z.',
      until: '2026-11-27T12:05:00.000Z',
    },
  ],
  position: { inTenant: null, tenantsAhead: null },
  estimatedStartAt: '2026-11-27T12:05:00.000Z',
};

export const batchRequest: z.input<typeof BatchRequest> = {
  jobs: [{ task: 'echo', payload: 1 }, { task: 'no.such.task' }],
};

export const batchResult: z.output<typeof BatchResult> = { index: 0, id: JOB_ID };

export const batchResponse: BatchResponse = {
  results: [
    batchResult,
    {
      index: 1,
      problem: {
        type: '/problems/unknown-task',
        title: 'There is no such task',
        status: 422,
        code: 'unknown_task',
        detail: 'There is no task "no.such.task".',
        instance: '01JZ3QK0M3E5G7J9L1N3Q5S7V9',
      },
    },
  ],
};

export const logPage: LogPage = {
  lines: [{ at: '2026-11-27T12:00:00.013Z', line: 'page 1 of 7 read' }],
  nextCursor: null,
};

export const flowReceipt: FlowReceipt = { id: ROOT_ID, jobs: { report: ROOT_ID, orders: CHILD_ID } };

export const flow: Flow = {
  id: ROOT_ID,
  state: 'running',
  nodes: [
    {
      name: 'report',
      id: ROOT_ID,
      task: 'echo',
      state: 'waiting-children',
      parents: [],
      children: ['orders'],
    },
    { name: 'orders', id: CHILD_ID, task: 'echo', state: 'active', parents: ['report'], children: [] },
  ],
  result: null,
};
