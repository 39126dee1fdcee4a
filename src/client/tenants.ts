import type { ApiKeyInfo } from '../shared/key-schemas.ts';
import type { PurgeStatus } from '../shared/purge-schemas.ts';
import type { ApiKey, ApiKeyRequest, Tenant, TenantSettingsInput, Usage } from '../shared/tenant-schemas.ts';
import type { z } from 'zod';
import { pathOf } from './transport.ts';
import type { CallOptions, Transport } from './transport.ts';

/** Tenants, for the admin. `*` names the defaults of those nobody configured. */
export class TenantsClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Configures a tenant. What is left out has its default, not what was set before. */
  put(id: string, settings: TenantSettingsInput, { signal }: CallOptions = {}): Promise<Tenant> {
    return this.#transport.json({ method: 'PUT', path: pathOf`/v1/tenants/${id}`, body: settings, signal });
  }

  get(id: string, { signal }: CallOptions = {}): Promise<Tenant> {
    return this.#transport.json({ method: 'GET', path: pathOf`/v1/tenants/${id}`, signal });
  }

  /** Every tenant that was configured. */
  async list({ signal }: CallOptions = {}): Promise<Tenant[]> {
    const { tenants } = await this.#transport.json<{ tenants: Tenant[] }>({
      method: 'GET',
      path: '/v1/tenants',
      signal,
    });
    return tenants;
  }

  /**
   * Takes its settings and keys away; with `purge` everything it owns.
   * @returns null when that is done; else how far the purge is, which workers go on with, as does another call
   */
  async remove(
    id: string,
    { purge, signal }: CallOptions & { purge?: boolean } = {},
  ): Promise<PurgeStatus | null> {
    const status = await this.#transport.json<PurgeStatus | undefined>({
      method: 'DELETE',
      path: pathOf`/v1/tenants/${id}`,
      query: { purge },
      signal,
    });
    return status ?? null;
  }

  /** Starts none of its jobs, for so long, or until it is resumed. */
  pause(
    id: string,
    { untilMs = null, signal }: CallOptions & { untilMs?: number | null } = {},
  ): Promise<Tenant> {
    const path = pathOf`/v1/tenants/${id}/pause`;
    return this.#transport.json({ method: 'POST', path, body: { untilMs }, signal });
  }

  resume(id: string, { signal }: CallOptions = {}): Promise<Tenant> {
    return this.#transport.json({ method: 'POST', path: pathOf`/v1/tenants/${id}/resume`, signal });
  }

  /** What it uses and has waiting. */
  usage(id: string, { signal }: CallOptions = {}): Promise<Usage> {
    return this.#transport.json({ method: 'GET', path: pathOf`/v1/tenants/${id}/usage`, signal });
  }
}

/** API keys of tenants, for the admin. */
export class KeysClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Makes a key; its secret is in this answer alone. It is not sent again when no answer comes: that could make two. */
  create(
    tenant: string,
    key: z.input<typeof ApiKeyRequest> = {},
    { signal }: CallOptions = {},
  ): Promise<ApiKey> {
    const path = pathOf`/v1/tenants/${tenant}/keys`;
    return this.#transport.json({ method: 'POST', path, body: key, repeatable: false, signal });
  }

  async list(tenant: string, { signal }: CallOptions = {}): Promise<ApiKeyInfo[]> {
    const path = pathOf`/v1/tenants/${tenant}/keys`;
    const { keys } = await this.#transport.json<{ keys: ApiKeyInfo[] }>({ method: 'GET', path, signal });
    return keys;
  }

  /** It opens nothing any more, in all API processes within 3 s. */
  revoke(tenant: string, keyId: string, { signal }: CallOptions = {}): Promise<void> {
    return this.#transport.json({
      method: 'DELETE',
      path: pathOf`/v1/tenants/${tenant}/keys/${keyId}`,
      signal,
    });
  }
}
