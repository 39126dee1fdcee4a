import { z } from 'zod';
import type { StoredAnswer } from '../../../queues/once/types.ts';
import { Job, JobListQuery, JobPage, JobRequest, Why } from '../../shared/schemas.ts';
import { answerOnce, idempotencyHeader, repeatProblems, replayedHeader } from '../http/idempotency.ts';
import { MAX_WAIT_SECONDS, preferredWaitSeconds } from '../http/prefer.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

export const WaitQuery = z.strictObject({
  wait: z
    .string()
    .regex(/^\d+$/, 'must be a whole number of seconds')
    .transform((seconds) => Math.min(Number(seconds), MAX_WAIT_SECONDS))
    .optional()
    .meta({
      description: `Seconds to wait for the job to finish; more than ${MAX_WAIT_SECONDS} are ${MAX_WAIT_SECONDS}.`,
    }),
});

const JobId = z.string().meta({ description: 'Job id.', examples: ['default.01JZ3QK0M4Y8W6T2N5R7S9V1XC'] });

/** Single jobs: enqueue, look up, list. */
export function jobRoutes({ engine }: RouteDeps): Route[] {
  const create = defineRoute({
    method: 'post',
    path: '/v1/jobs',
    operationId: 'enqueueJob',
    summary: 'Enqueue a job',
    description:
      'With `Prefer: wait=N` the answer is held back until the job has finished or N seconds have passed.',
    tag: 'jobs',
    access: 'jobs:write',
    body: JobRequest,
    requestHeaders: [
      {
        name: 'Prefer',
        description: `\`wait=N\`: seconds to wait for the result, at most ${MAX_WAIT_SECONDS}.`,
      },
      idempotencyHeader,
      { name: 'X-Correlation-Id', description: 'Follows the job; `traceparent` is understood as well.' },
    ],
    responses: {
      200: { description: 'The job finished within the preferred wait.', schema: Job, headers: jobHeaders() },
      202: { description: 'The job is accepted and stored.', schema: Job, headers: jobHeaders() },
    },
    problems: ['unknown_task', 'invalid_payload', 'conflict', 'queue_full', ...repeatProblems],
    async handle(call) {
      const { tenant, body, correlationId, traceparent } = call;
      const seconds = preferredWaitSeconds(call.req.get('Prefer'));
      const options =
        seconds === undefined
          ? { answerOf: (job: unknown) => accepted(job as Job) }
          : { waitMs: seconds * 1000 };
      return answerOnce(engine.repeats, call, options, async (once) => {
        const { job, isNew } = await engine.jobs.accept(tenant, body, { correlationId, traceparent, once });
        const reply = accepted(job);
        if (!isNew && !once?.outcomes) reply.headers['Waggle-Deduplicated'] = 'true';
        if (seconds === undefined || once?.outcomes) return reply;
        const headers = { ...reply.headers, 'Preference-Applied': `wait=${seconds}` };
        const ended = await engine.jobs.waitUntilFinished(tenant, job.id, seconds * 1000, call.hurry());
        return { status: ended.finishedAt === null ? 202 : 200, headers, body: ended };
      });
    },
  });

  const get = defineRoute({
    method: 'get',
    path: '/v1/jobs/{id}',
    operationId: 'getJob',
    summary: 'A job, at once or when it has finished',
    tag: 'jobs',
    access: 'jobs:read',
    params: { id: JobId },
    query: WaitQuery,
    responses: { 200: { description: 'The job as it is now.', schema: Job } },
    problems: ['not_found'],
    async handle({ tenant, params, query, hurry }) {
      const id = params['id'] ?? '';
      const job =
        query.wait === undefined || query.wait === 0
          ? await engine.jobs.get(tenant, id)
          : await engine.jobs.waitUntilFinished(tenant, id, query.wait * 1000, hurry());
      return { status: 200, body: job };
    },
  });

  const list = defineRoute({
    method: 'get',
    path: '/v1/jobs',
    operationId: 'listJobs',
    summary: "A page of the tenant's jobs, newest first",
    tag: 'jobs',
    access: 'jobs:read',
    query: JobListQuery,
    responses: { 200: { description: 'A page; `nextCursor` is null on the last one.', schema: JobPage } },
    async handle({ tenant, query }) {
      return { status: 200, body: await engine.jobs.list(tenant, query) };
    },
  });

  const why = defineRoute({
    method: 'get',
    path: '/v1/jobs/{id}/why',
    operationId: 'explainJob',
    summary: 'Why a job is not running',
    description: 'Every gate that holds it, until when, and its place in line.',
    tag: 'jobs',
    access: 'jobs:read',
    params: { id: JobId },
    responses: { 200: { description: 'What holds it now.', schema: Why } },
    problems: ['not_found'],
    async handle({ tenant, params }) {
      return { status: 200, body: await engine.jobs.why(tenant, params['id'] ?? '') };
    },
  });

  return [create, list, get, why];
}

function accepted(job: Job): StoredAnswer {
  const headers = {
    Location: `/v1/jobs/${job.id}`,
    Vary: 'Prefer',
    'X-Correlation-Id': job.correlationId,
  };
  return { status: 202, headers, body: job };
}

function jobHeaders(): Record<string, string> {
  return {
    ...replayedHeader,
    'Waggle-Deduplicated': '`true` when another job stands for this one, by `dedupe`.',
    Location: 'Path of the job.',
    'Preference-Applied': 'The wait that was applied, when one was asked for.',
    Vary: 'Prefer.',
  };
}
