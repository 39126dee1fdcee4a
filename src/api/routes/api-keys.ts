import { WaggleError } from '../../shared/errors.ts';
import { isTenantId } from '../../shared/ids.ts';
import { TenantId } from '../../shared/schemas.ts';
import { ApiKey, ApiKeyRequest } from '../../shared/tenant-schemas.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

/** Keys with which a tenant calls the API, made by the admin. */
export function apiKeyRoutes({ engine }: RouteDeps): Route[] {
  const create = defineRoute({
    method: 'post',
    path: '/v1/tenants/{id}/keys',
    operationId: 'createApiKey',
    summary: 'Make an API key for a tenant',
    description: 'The secret is in this answer and nowhere else: only its hash is stored.',
    tag: 'tenants',
    access: 'admin',
    params: { id: TenantId },
    body: ApiKeyRequest,
    responses: { 201: { description: 'The key and its secret.', schema: ApiKey } },
    problems: ['not_found'],
    async handle({ params, body }) {
      const tenant = params['id'] ?? '';
      if (!isTenantId(tenant)) throw new WaggleError('not_found', 'There is no such tenant.');
      return { status: 201, body: await engine.apiKeys.create(tenant, body) };
    },
  });
  return [create];
}
