import { z } from 'zod';
import { WaggleError } from '../../shared/errors.ts';
import { isTenantId } from '../../shared/ids.ts';
import { ApiKeyList } from '../../shared/key-schemas.ts';
import { TenantId } from '../../shared/schemas.ts';
import { ApiKey, ApiKeyRequest } from '../../shared/tenant-schemas.ts';
import { apiKey } from '../openapi/examples/tenants.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

/** Keys with which a tenant calls the API, made by the admin. */
export function apiKeyRoutes({ engine }: RouteDeps): Route[] {
  const create = defineRoute({
    method: 'post',
    path: '/v1/tenants/{id}/keys',
    operationId: 'createApiKey',
    summary: 'Make an API key for a tenant',
    description:
      'The secret is in this answer and nowhere else: only its hash is stored. Without a body the key reads and writes ' +
      'jobs and does not expire.',
    tag: 'tenants',
    access: 'admin',
    params: { id: TenantId },
    body: ApiKeyRequest,
    mayLackBody: true,
    responses: { 201: { description: 'The key and its secret.', schema: ApiKey } },
    problems: ['not_found', 'conflict'],
    async handle({ params, body }) {
      return { status: 201, body: await engine.apiKeys.create(tenantOf(params), body) };
    },
    auditDetail(_call, reply) {
      const { id, scopes, expiresAt } = reply.body as ApiKey;
      return { id, scopes, expiresAt };
    },
  });

  const list = defineRoute({
    method: 'get',
    path: '/v1/tenants/{id}/keys',
    operationId: 'listApiKeys',
    summary: 'The API keys of a tenant',
    tag: 'tenants',
    access: 'admin',
    params: { id: TenantId },
    responses: { 200: { description: 'The keys, oldest first.', schema: ApiKeyList } },
    problems: ['not_found'],
    async handle({ params }) {
      return { status: 200, body: { keys: await engine.apiKeys.list(tenantOf(params)) } };
    },
  });

  const revoke = defineRoute({
    method: 'delete',
    path: '/v1/tenants/{id}/keys/{keyId}',
    operationId: 'revokeApiKey',
    summary: 'Revoke an API key',
    description: 'It opens nothing any more: at once in this API process, within 3 s in others.',
    tag: 'tenants',
    access: 'admin',
    params: { id: TenantId, keyId: z.string().meta({ description: 'Key id.', examples: [apiKey.id] }) },
    responses: { 204: { description: 'It is revoked; revoking it again changes nothing.' } },
    problems: ['not_found'],
    async handle({ params }) {
      await engine.apiKeys.revoke(tenantOf(params), params['keyId'] ?? '');
      return { status: 204 };
    },
  });

  return [create, list, revoke];
}

function tenantOf(params: Readonly<Record<string, string>>): string {
  const tenant = params['id'] ?? '';
  if (!isTenantId(tenant)) throw new WaggleError('not_found', 'There is no such tenant.');
  return tenant;
}
