import type { ApiKeys } from '../../../queues/tenants/types.ts';
import type { CredentialCheck } from './caller.ts';

/** Every tenant key starts like this, so any other token costs no question to Redis. */
const KEY_PREFIX = 'wgk_';

export function apiKeyCheck(apiKeys: ApiKeys): CredentialCheck {
  return async (token) => {
    if (!token.startsWith(KEY_PREFIX)) return null;
    const key = await apiKeys.verify(token);
    return key === null
      ? null
      : { kind: 'tenant', tenant: key.tenant, scopes: key.scopes, credential: key.keyId };
  };
}
