import type {
  ApiKey,
  ApiKeyRequest,
  Scope,
  Tenant,
  TenantSettingsInput,
} from '../../src/shared/tenant-schemas.ts';

export interface Tenants {
  /** Stores the settings; they hold from the next pick on. `*` sets the defaults. @throws WaggleError validation */
  put(id: string, settings: TenantSettingsInput): Promise<Tenant>;
  /** The tenant; one nobody configured has the defaults of `*`. @throws WaggleError not_found for what is no tenant id */
  get(id: string): Promise<Tenant>;
  /** Every configured tenant, by id. */
  list(): Promise<Tenant[]>;
  /**
   * Lets none of the tenant's jobs start for `forMs`, or until it is resumed (null); running ones go on.
   * @throws WaggleError not_found
   */
  pause(id: string, forMs: number | null): Promise<Tenant>;
  /** Ends a pause, whoever began it. @throws WaggleError not_found */
  resume(id: string): Promise<Tenant>;
  /**
   * Whether the tenant may have `count` more jobs waiting. Settings are read again after a second; several callers at the
   * same moment may together pass by as many jobs as each of them brings.
   * @throws WaggleError queue_full
   */
  assertRoom(id: string, count: number): Promise<void>;
  /** How many of `count` jobs the tenant may still have waiting. */
  roomFor(id: string, count: number): Promise<number>;
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
