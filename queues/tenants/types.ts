import type { ApiKeyInfo } from '../../src/shared/key-schemas.ts';
import type {
  ApiKey,
  ApiKeyRequest,
  Scope,
  Tenant,
  TenantSettingsInput,
} from '../../src/shared/tenant-schemas.ts';
import type { Room } from './room.ts';
import type { TenantIdQuery } from './tenant-ids.ts';

export interface Tenants {
  /** Stores the settings; they hold from the next pick on. `*` sets the defaults. @throws WaggleError validation */
  put(id: string, settings: TenantSettingsInput): Promise<Tenant>;
  /** The tenant; one nobody configured has the defaults of `*`. @throws WaggleError not_found for what is no tenant id */
  get(id: string): Promise<Tenant>;
  /**
   * Takes the settings and limits away: the tenant has those of `*` again, and `*` those of a fresh installation.
   * @throws WaggleError not_found for what is no tenant id
   */
  remove(id: string): Promise<void>;
  /** Every configured tenant, by id. */
  list(): Promise<Tenant[]>;
  /** The first ids of configured tenants after one, sorted, without `*`. For whom the list may be too long. */
  ids(query: TenantIdQuery): Promise<string[]>;
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
   * @param after is waited for where there is a limit: room that it has still reserved would count twice
   */
  withRoom<T>(
    id: string,
    count: number,
    add: (room: Room) => Promise<T>,
    after?: Promise<unknown>,
  ): Promise<T>;
}

export interface VerifiedKey {
  keyId: string;
  tenant: string;
  scopes: Scope[];
}

export interface ApiKeys {
  /**
   * Makes a key. The secret is returned this once; only its hash is stored. A tenant may have many at a time.
   * @throws WaggleError validation; conflict when the tenant has too many
   */
  create(tenant: string, request: ApiKeyRequest): Promise<ApiKey>;
  /** The tenant's keys, oldest first; those revoked or expired in the last seven days as well. */
  list(tenant: string): Promise<ApiKeyInfo[]>;
  /**
   * Ends a key: at once in this process, within 3 s in others. Once more changes nothing.
   * @throws WaggleError not_found when the tenant has no such key
   */
  revoke(tenant: string, keyId: string): Promise<void>;
  /** Ends all keys of a tenant and forgets them. @returns how many there were */
  removeAll(tenant: string): Promise<number>;
  /** Who a secret belongs to; null when it is unknown, expired or revoked. */
  verify(secret: string): Promise<VerifiedKey | null>;
}
