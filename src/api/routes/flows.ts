import { z } from 'zod';
import type { StoredAnswer } from '../../../queues/once/types.ts';
import { Flow, FlowReceipt, FlowRequest } from '../../shared/schemas.ts';
import { answerOnce, idempotencyHeader, repeatProblems, replayedHeader } from '../http/idempotency.ts';
import { flow } from '../openapi/examples/jobs.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

/** Flows: jobs that wait for other jobs. */
export function flowRoutes({ engine }: RouteDeps): Route[] {
  const create = defineRoute({
    method: 'post',
    path: '/v1/flows',
    operationId: 'enqueueFlow',
    summary: 'Enqueue a flow',
    description: 'The whole tree is stored or nothing of it. A job runs when its children have ended.',
    tag: 'flows',
    access: 'jobs:write',
    body: FlowRequest,
    requestHeaders: [idempotencyHeader],
    responses: {
      202: {
        description: 'The flow is accepted.',
        schema: FlowReceipt,
        headers: { Location: 'Path of the flow.', ...replayedHeader },
      },
    },
    problems: ['unknown_task', 'invalid_payload', 'queue_full', ...repeatProblems],
    async handle(call) {
      const { tenant, body, correlationId, traceparent } = call;
      const answerOf = (receipt: unknown): StoredAnswer => accepted(receipt as FlowReceipt);
      return answerOnce(engine.repeats, call, { answerOf }, async (once) =>
        accepted(await engine.flows.enqueue(tenant, body.tree, { correlationId, traceparent, once })),
      );
    },
  });

  const get = defineRoute({
    method: 'get',
    path: '/v1/flows/{id}',
    operationId: 'getFlow',
    summary: 'A flow and the state of each of its jobs',
    tag: 'flows',
    access: 'jobs:read',
    params: { id: z.string().meta({ description: 'Flow id.', examples: [flow.id] }) },
    responses: { 200: { description: 'The flow as it is now.', schema: Flow } },
    problems: ['not_found'],
    async handle({ tenant, params }) {
      return { status: 200, body: await engine.flows.get(tenant, params['id'] ?? '') };
    },
  });

  return [create, get];
}

function accepted(receipt: FlowReceipt): StoredAnswer {
  return { status: 202, headers: { Location: `/v1/flows/${receipt.id}` }, body: receipt };
}
