import type { Access } from '../route.ts';
import type { JsonObject } from './schemas.ts';

/** The three credentials, all of them bearer tokens. */
export const securitySchemes: JsonObject = {
  apiKey: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'wgk_…',
    description: 'The API key of a tenant. It needs the scopes listed.',
  },
  jwt: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'A JWT with the claims `tenant_id` and `scope`, where the server takes them.',
  },
  adminToken: {
    type: 'http',
    scheme: 'bearer',
    description: 'The admin token. On calls for a tenant, `X-Tenant-Id` names it.',
  },
};

/** Which credentials open a route, each for itself. OpenAPI 3.1 lets any scheme list the roles or scopes it needs. */
export function requirements(access: Access): JsonObject[] {
  if (access === 'public') return [];
  if (access === 'admin') return [{ adminToken: [] }];
  const scopes = access === 'tenant' ? [] : [access];
  return [{ apiKey: scopes }, { jwt: scopes }, { adminToken: [] }];
}
