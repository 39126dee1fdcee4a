import { TenantId } from '../../shared/schemas.ts';
import { Usage } from '../../shared/tenant-schemas.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

const description =
  'Its limits, what it has in the queues and what holds that, and over the last minute, five minutes and hour: starts, ' +
  'ends, its share against the one its weight entitles it to, and how long its jobs waited. Some seconds old at most.';

/** What a tenant uses: for the admin, and for itself. */
export function usageRoutes({ engine }: RouteDeps): Route[] {
  const ofTenant = defineRoute({
    method: 'get',
    path: '/v1/tenants/{id}/usage',
    operationId: 'getTenantUsage',
    summary: 'What a tenant uses',
    description,
    tag: 'tenants',
    access: 'admin',
    params: { id: TenantId },
    responses: { 200: { description: 'What it uses now.', schema: Usage } },
    problems: ['not_found'],
    async handle({ params }) {
      return { status: 200, body: await engine.usage.of(params['id'] ?? '') };
    },
  });

  const ofCaller = defineRoute({
    method: 'get',
    path: '/v1/me',
    operationId: 'getOwnUsage',
    summary: 'What the caller is, may use and uses',
    description: `${description} Any credential of a tenant will do, whatever its scopes.`,
    tag: 'tenants',
    access: 'tenant',
    responses: { 200: { description: 'What it uses now.', schema: Usage } },
    async handle({ tenant }) {
      return { status: 200, body: await engine.usage.of(tenant) };
    },
  });

  return [ofCaller, ofTenant];
}
