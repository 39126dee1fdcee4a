import type { ApiMetrics } from './metrics.ts';
import type { Route, RouteDeps } from './route.ts';
import { apiKeyRoutes } from './routes/api-keys.ts';
import { auditRoutes } from './routes/audit.ts';
import { flowRoutes } from './routes/flows.ts';
import { healthRoutes } from './routes/health.ts';
import { jobBatchRoutes } from './routes/job-batches.ts';
import { jobBulkRoutes } from './routes/job-bulk.ts';
import { jobControlRoutes } from './routes/job-control.ts';
import { jobEventRoutes } from './routes/job-events.ts';
import { jobRoutes } from './routes/jobs.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { openApiRoutes } from './routes/openapi.ts';
import { overallLimitRoutes } from './routes/overall-limits.ts';
import { tenantRoutes } from './routes/tenants.ts';
import { usageRoutes } from './routes/usage.ts';

/** Every route of the API. Express asks them in this order, so the busiest come first. */
export function routeTable(deps: RouteDeps, metrics: ApiMetrics): Route[] {
  const routes: Route[] = [
    ...jobRoutes(deps),
    ...jobEventRoutes(deps),
    ...jobBatchRoutes(deps),
    // Before those whose path has an id where theirs say `bulk`.
    ...jobBulkRoutes(deps),
    ...jobControlRoutes(deps),
    ...flowRoutes(deps),
    ...tenantRoutes(deps),
    ...overallLimitRoutes(deps),
    ...usageRoutes(deps),
    ...apiKeyRoutes(deps),
    ...auditRoutes(deps),
    ...healthRoutes(deps),
    ...metricsRoutes(metrics),
    ...openApiRoutes(() => routes),
  ];
  return routes;
}
