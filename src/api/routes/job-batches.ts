import type { BatchOutcome } from '../../../queues/jobs/types.ts';
import { BatchItems, BatchRequest, BatchResponse, BatchResult, JobRequest } from '../../shared/schemas.ts';
import { answerOnce, idempotencyHeader, repeatProblems, replayedHeader } from '../http/idempotency.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';
import { result, streamJobs } from './job-stream.ts';

/** Many jobs in one request, each with an outcome of its own. */
export function jobBatchRoutes({ engine }: RouteDeps): Route[] {
  const create = defineRoute({
    method: 'post',
    path: '/v1/jobs/batch',
    operationId: 'enqueueJobs',
    summary: 'Enqueue many jobs',
    description:
      'A job that is not valid gets a problem and spoils no other. As `application/x-ndjson` a batch may have any length: ' +
      'one job a line in, one outcome a line out, while it is sent. When the server has to end it early, the last ' +
      'line is a problem with the index of the first job that is to be sent again.',
    tag: 'jobs',
    access: 'jobs:write',
    body: BatchItems,
    ndjson: { line: JobRequest, answerLine: BatchResult, handle: (call) => streamJobs(engine, call) },
    requestHeaders: [idempotencyHeader],
    bodyDoc: BatchRequest,
    responses: {
      202: { description: 'One outcome per job, in order.', schema: BatchResponse, headers: replayedHeader },
    },
    problems: repeatProblems,
    async handle(call) {
      const { tenant, body, correlationId, traceparent, requestId } = call;
      return answerOnce(engine.repeats, call, {}, async (once) => {
        const context = { correlationId, traceparent, once };
        const outcomes = await engine.jobs.enqueueBatch(tenant, body.jobs, context);
        throwOutage(outcomes);
        const results = outcomes.map((outcome, index) => result(outcome, index, requestId));
        return { status: 202, body: { results } };
      });
    },
  });
  return [create];
}

/** When nothing was stored and Redis is why, the request as a whole failed and can be sent again. */
function throwOutage(outcomes: readonly BatchOutcome[]): void {
  if (outcomes.some((outcome) => 'id' in outcome)) return;
  for (const outcome of outcomes) {
    if ('problem' in outcome && outcome.problem.code === 'redis_unavailable') throw outcome.problem;
  }
}
