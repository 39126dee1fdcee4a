import { z } from 'zod';
import type { ApiMetrics } from '../metrics.ts';
import { defineRoute } from '../route.ts';
import type { Route } from '../route.ts';

const Exposition = z.string().meta({
  examples: ['# TYPE waggle_http_requests_in_flight gauge\nwaggle_http_requests_in_flight 1\n'],
});

/** What Prometheus scrapes. */
export function metricsRoutes(metrics: ApiMetrics): Route[] {
  const scrape = defineRoute({
    method: 'get',
    path: '/metrics',
    operationId: 'metrics',
    summary: 'Metrics of this process in the Prometheus text format',
    tag: 'operations',
    access: 'public',
    responses: { 200: { description: 'The metrics.', schema: Exposition, contentType: 'text/plain' } },
    async handle() {
      const { type, content } = await metrics.expose();
      return { status: 200, text: { type, content } };
    },
  });
  return [scrape];
}
