import type { Scope } from '../../shared/tenant-schemas.ts';

/** Who sends a request, as the credential proves it. */
export type Caller = AdminCaller | TenantCaller;

export interface AdminCaller {
  kind: 'admin';
}

export interface TenantCaller {
  kind: 'tenant';
  tenant: string;
  scopes: readonly Scope[];
  /** Names the credential without telling it: the id of the API key, or the subject of a JWT. */
  credential: string;
}

/**
 * One kind of credential: the caller it proves, or null when the token is not of this kind or not valid.
 * @throws WaggleError when it cannot tell for now
 */
export type CredentialCheck = (token: string) => Promise<Caller | null> | Caller | null;

/** How a caller is named in logs and records, and told from others. */
export function nameOf(caller: Caller): string {
  return caller.kind === 'admin' ? 'admin' : caller.credential;
}
