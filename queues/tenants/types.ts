import type { ApiKey, ApiKeyRequest, Scope, Tenant, TenantSettings } from '../../src/shared/schemas.ts';

export interface Tenants {
  /** Stores the settings; they hold from the next pick on. `*` sets the defaults. @throws WaggleError validation */
  put(id: string, settings: TenantSettings): Promise<Tenant>;
  /** The tenant; one nobody configured has the defaults of `*`. @throws WaggleError not_found for what is no tenant id */
  get(id: string): Promise<Tenant>;
  /** Every configured tenant, by id. */
  list(): Promise<Tenant[]>;
}

export interface VerifiedKey {
  keyId: string;
  tenant: string;
  scopes: Scope[];
}

export interface ApiKeys {
  /** Makes a key. The secret is returned this once; only its hash is stored. */
  create(tenant: string, request: ApiKeyRequest): Promise<ApiKey>;
  /** Who a secret belongs to; null when it is unknown, expired or revoked. */
  verify(secret: string): Promise<VerifiedKey | null>;
}
