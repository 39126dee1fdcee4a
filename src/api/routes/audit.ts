import { AuditPage, AuditQuery } from '../../shared/audit-schemas.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

/** What was administered, for the admin. */
export function auditRoutes({ engine }: RouteDeps): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/v1/audit',
    operationId: 'listAudit',
    summary: 'What was administered, newest first',
    description:
      'Every call of the admin that changes something, for a tenant as well, and each login to the dashboard. About ' +
      '100,000 entries are kept.',
    tag: 'operations',
    access: 'admin',
    query: AuditQuery,
    responses: { 200: { description: 'A page of entries.', schema: AuditPage } },
    async handle({ query }) {
      return { status: 200, body: await engine.audit.page(query) };
    },
  });
  return [list];
}
