import { z } from 'zod';
import { Limited, OverallLimits } from '../../shared/overall-schemas.ts';
import { QueueName, TaskName } from '../../shared/schemas.ts';
import { limited } from '../openapi/examples/tenants.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

const KINDS = {
  queues: { one: 'queue', operation: 'Queue', param: QueueName, example: 'mail' },
  tasks: { one: 'task', operation: 'Task', param: TaskName, example: 'http.request' },
} as const;

/** What whole queues and tasks may do over all tenants, for the admin. */
export function overallLimitRoutes(deps: RouteDeps): Route[] {
  return [...routesOf(deps, 'queues'), ...routesOf(deps, 'tasks')];
}

function routesOf({ engine }: RouteDeps, kind: keyof typeof KINDS): Route[] {
  const { one, operation, param } = KINDS[kind];
  const path = `/v1/${kind}/{name}`;
  const forAdmin = { tag: kind, access: 'admin' as const };
  const params = { name: param };

  const list = defineRoute({
    ...forAdmin,
    method: 'get',
    path: `/v1/${kind}`,
    operationId: `list${operation}s`,
    summary: `Every ${one} with limits`,
    responses: {
      200: { description: `The ${kind}, by name.`, schema: listOf(kind) },
    },
    async handle() {
      return { status: 200, body: { [kind]: await engine.overall[kind].list() } };
    },
  });

  const get = defineRoute({
    ...forAdmin,
    method: 'get',
    path,
    operationId: `get${operation}`,
    summary: `The limits of a ${one}`,
    params,
    responses: { 200: { description: `The ${one}; one nobody configured has no limits.`, schema: Limited } },
    problems: ['not_found'],
    async handle(call) {
      return { status: 200, body: await engine.overall[kind].get(call.params['name'] ?? '') };
    },
  });

  const put = defineRoute({
    ...forAdmin,
    method: 'put',
    path,
    operationId: `put${operation}`,
    summary: `Limit a ${one} over all tenants`,
    description: 'Takes effect on the next pick, without a restart. Jobs that run count.',
    params,
    body: OverallLimits,
    responses: { 200: { description: `The ${one} as it is now.`, schema: Limited } },
    async handle({ params: { name = '' }, body }) {
      return { status: 200, body: await engine.overall[kind].put(name, body) };
    },
    auditDetail: (call) => call.body,
  });

  const remove = defineRoute({
    ...forAdmin,
    method: 'delete',
    path,
    operationId: `delete${operation}`,
    summary: `Take the limits of a ${one} away`,
    params,
    responses: { 204: { description: 'It has none any more.' } },
    problems: ['not_found'],
    async handle(call) {
      await engine.overall[kind].remove(call.params['name'] ?? '');
      return { status: 204 };
    },
  });

  return [list, get, put, remove];
}

function listOf(kind: keyof typeof KINDS): z.ZodType {
  return z
    .strictObject({ [kind]: z.array(Limited) })
    .meta({ examples: [{ [kind]: [{ ...limited, name: KINDS[kind].example }] }] });
}
