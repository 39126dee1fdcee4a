import type {
  ApiKey,
  ApiKeyRequest,
  Scope,
  Tenant,
  TenantSettingsInput,
} from '../../src/shared/tenant-schemas.ts';
import type { Room } from './room.ts';

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
   * Has `count` jobs of the tenant added by `add`, which is told for how many of them there is room and must add no more:
   * callers who come at the same time do not pass the limit together. Settings are read again after a second.
   */
  withRoom<T>(id: string, count: number, add: (room: Room) => Promise<T>): Promise<T>;
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
