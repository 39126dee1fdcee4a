import { z } from 'zod';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

const Health = z.strictObject({ status: z.string() }).meta({ id: 'Health', examples: [{ status: 'ok' }] });

/** Probes. `/livez` asks nobody: a process without Redis is degraded, and a restart would not mend it. */
export function healthRoutes({ engine }: RouteDeps): Route[] {
  const live = defineRoute({
    method: 'get',
    path: '/livez',
    operationId: 'livez',
    summary: 'Whether the process runs',
    tag: 'operations',
    access: 'public',
    responses: { 200: { description: 'It runs.', schema: Health } },
    handle: () => ({ status: 200, body: { status: 'ok' } }),
  });

  const ready = defineRoute({
    method: 'get',
    path: '/readyz',
    operationId: 'readyz',
    summary: 'Whether requests can be served: Redis answers and the scripts load',
    tag: 'operations',
    access: 'public',
    responses: { 200: { description: 'They can.', schema: Health } },
    problems: ['redis_unavailable', 'shutting_down'],
    async handle() {
      await engine.ping();
      // Counting is a script that changes nothing: a Redis that takes no scripts could store no job.
      await engine.topology.queue(0, 'default').getJobCounts('waiting');
      return { status: 200, body: { status: 'ok' } };
    },
  });

  return [live, ready];
}
