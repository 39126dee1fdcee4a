import { BulkAnswer, BulkCancel, BulkRetry, DeadLetterQuery, Redrive } from '../../shared/bulk-schemas.ts';
import type { BulkOrder } from '../../shared/bulk-schemas.ts';
import { JobPage } from '../../shared/schemas.ts';
import type { Reply } from '../http/reply.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteCall, RouteDeps } from '../route.ts';

const responses = {
  200: { description: 'What would be done.', schema: BulkAnswer },
  202: {
    description: 'A job does it; the counts are those of now.',
    schema: BulkAnswer,
    headers: { Location: 'Path of the job.' },
  },
};

/** What is done to many jobs at once, and jobs that failed for good. */
export function jobBulkRoutes({ engine }: RouteDeps): Route[] {
  async function start(call: RouteCall<unknown, { dryRun: boolean }>, order: BulkOrder): Promise<Reply> {
    const { tenant, body, correlationId } = call;
    const answer = await engine.bulk.start(tenant, order, body.dryRun, { correlationId });
    if (answer.job === null) return { status: 200, body: answer };
    return { status: 202, headers: { Location: `/v1/jobs/${answer.job.id}` }, body: answer };
  }
  const before = (): string => new Date().toISOString();

  const cancel = defineRoute({
    method: 'post',
    path: '/v1/jobs/bulk/cancel',
    operationId: 'cancelJobs',
    summary: 'Cancel all jobs of a filter',
    description:
      'Those that exist now and have not ended. A job does it; nodes of flows are cancelled one by one.',
    tag: 'jobs',
    access: 'jobs:write',
    body: BulkCancel,
    responses,
    problems: ['queue_full'],
    handle: (call) => {
      const { filter, reason, graceMs } = call.body;
      return start(call, { action: 'cancel', filter, before: before(), reason, graceMs });
    },
  });

  const retry = defineRoute({
    method: 'post',
    path: '/v1/jobs/bulk/retry',
    operationId: 'retryJobs',
    summary: 'Run all jobs of a filter again that failed, expired or were cancelled',
    description:
      'Those that have ended by now, so none is run again twice. A job does it; nodes of flows are left out.',
    tag: 'jobs',
    access: 'jobs:write',
    body: BulkRetry,
    responses,
    problems: ['queue_full'],
    handle: (call) => start(call, retryOrder(call.body.filter, call.body.ratePerSecond)),
  });

  const list = defineRoute({
    method: 'get',
    path: '/v1/dead-letters',
    operationId: 'listDeadLetters',
    summary: "A page of the tenant's jobs that failed for good, newest first",
    tag: 'jobs',
    access: 'jobs:read',
    query: DeadLetterQuery,
    responses: { 200: { description: 'A page; `nextCursor` is null on the last one.', schema: JobPage } },
    handle: async ({ tenant, query }) => ({
      status: 200,
      body: await engine.jobs.list(tenant, { ...query, state: 'failed' }),
    }),
  });

  const redrive = defineRoute({
    method: 'post',
    path: '/v1/dead-letters/redrive',
    operationId: 'redriveDeadLetters',
    summary: 'Run jobs again that failed for good, at a rate',
    tag: 'jobs',
    access: 'jobs:write',
    body: Redrive,
    mayLackBody: true,
    responses,
    problems: ['queue_full'],
    handle: (call) =>
      start(call, retryOrder({ ...call.body.filter, state: 'failed' }, call.body.ratePerSecond)),
  });

  function retryOrder(filter: BulkOrder['filter'], ratePerSecond: number | undefined): BulkOrder {
    return { action: 'retry', filter, before: before(), ...(ratePerSecond ? { ratePerSecond } : {}) };
  }

  return [cancel, retry, list, redrive];
}
