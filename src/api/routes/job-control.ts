import { z } from 'zod';
import { CancelRequest, JobPatch } from '../../shared/control-schemas.ts';
import { Job } from '../../shared/schemas.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

const params = {
  id: z.string().meta({ description: 'Job id.', examples: ['default.01JZ3QK0M4Y8W6T2N5R7S9V1XC'] }),
};
const problems = ['not_found', 'job_not_in_state'] as const;

/** What can be done to a job once it is in. */
export function jobControlRoutes({ engine: { control } }: RouteDeps): Route[] {
  const cancel = defineRoute({
    method: 'post',
    path: '/v1/jobs/{id}/cancel',
    operationId: 'cancelJob',
    summary: 'Cancel a job',
    description:
      'A job that does not run is gone at once. The signal of one that runs is aborted, wherever that is, and after ' +
      '`graceMs` it is recorded as cancelled whatever its handler does. May be repeated.',
    tag: 'jobs',
    access: 'jobs:write',
    params,
    body: CancelRequest,
    mayLackBody: true,
    responses: {
      200: { description: 'The job is cancelled.', schema: Job },
      202: { description: 'The job runs, and was asked to stop.', schema: Job },
    },
    problems: [...problems],
    async handle({ tenant, params: { id = '' }, body }) {
      const job = await control.cancel(tenant, id, body);
      return { status: job.finishedAt === null ? 202 : 200, body: job };
    },
  });

  const retry = defineRoute({
    method: 'post',
    path: '/v1/jobs/{id}/retry',
    operationId: 'retryJob',
    summary: 'Run a job again that failed, expired or was cancelled',
    description: 'It waits behind the others of its tenant, its attempts and its time to live begin anew.',
    tag: 'jobs',
    access: 'jobs:write',
    params,
    responses: { 202: { description: 'The job waits again.', schema: Job } },
    problems: [...problems, 'queue_full'],
    async handle({ tenant, params: { id = '' } }) {
      return { status: 202, body: await control.retry(tenant, id) };
    },
  });

  const promote = defineRoute({
    method: 'post',
    path: '/v1/jobs/{id}/promote',
    operationId: 'promoteJob',
    summary: 'Let a delayed job run now',
    tag: 'jobs',
    access: 'jobs:write',
    params,
    responses: { 200: { description: 'The job waits for its turn.', schema: Job } },
    problems: [...problems],
    async handle({ tenant, params: { id = '' } }) {
      return { status: 200, body: await control.promote(tenant, id) };
    },
  });

  const amend = defineRoute({
    method: 'patch',
    path: '/v1/jobs/{id}',
    operationId: 'changeJob',
    summary: 'Change a job that waits or is delayed',
    tag: 'jobs',
    access: 'jobs:write',
    params,
    body: JobPatch,
    responses: { 200: { description: 'The job as it is now.', schema: Job } },
    problems: [...problems, 'invalid_payload'],
    async handle({ tenant, params: { id = '' }, body }) {
      return { status: 200, body: await control.amend(tenant, id, body) };
    },
  });

  const remove = defineRoute({
    method: 'delete',
    path: '/v1/jobs/{id}',
    operationId: 'deleteJob',
    summary: 'Remove a job that does not run',
    description: 'With its log. The nodes of a flow go together, when their time is over.',
    tag: 'jobs',
    access: 'jobs:write',
    params,
    responses: { 204: { description: 'The job is gone.' } },
    problems: [...problems],
    async handle({ tenant, params: { id = '' } }) {
      await control.remove(tenant, id);
      return { status: 204 };
    },
  });

  return [cancel, retry, promote, amend, remove];
}
