import type { Scope } from '../../shared/tenant-schemas.ts';

/** Who sends a request, as the credential proves it. */
export type Caller =
  { kind: 'admin' } | { kind: 'tenant'; tenant: string; scopes: readonly Scope[]; keyId: string };

/** One kind of credential: the caller it proves, or null when the token is not of this kind or not valid. */
export type CredentialCheck = (token: string) => Promise<Caller | null> | Caller | null;
