import { hash, timingSafeEqual } from 'node:crypto';
import { WaggleError } from '../../src/shared/errors.ts';
import { randomToken } from '../../src/shared/ids.ts';
import type { ApiKeyInfo } from '../../src/shared/key-schemas.ts';
import { ApiKeyRequest } from '../../src/shared/tenant-schemas.ts';
import type { ApiKey, Scope } from '../../src/shared/tenant-schemas.ts';
import { parse } from '../../src/shared/validate.ts';
import { withRedis } from '../topology/redis-errors.ts';
import { defineScript } from '../topology/scripts.ts';
import type { Topology } from '../topology/topology.ts';
import { KeyCache } from './api-key-cache.ts';
import type { CachedKey } from './api-key-cache.ts';
import type { ApiKeys, VerifiedKey } from './types.ts';

const SECRET = /^wgk_[A-Za-z0-9_-]{43}$/;
const KEY_ID = /^key_[0-9a-f]{24}$/;
const SECRET_BYTES = 32;
/** Part of the hash that names the key: far too little to tell anything of a secret of 256 random bits. */
const ID_HEX_DIGITS = 24;
/** So long a key is listed after it was revoked or has expired. */
const LISTED_MS = 7 * 86_400_000;
/** The use of a key is noted once in so long. */
const USE_MS = 60_000;
/** Far more than a rotation takes; it bounds what a list has to read. */
const KEYS_MOST = 200;
const NOT_REVOKED = '0';

/** API keys: the secret is shown once, its SHA-256 is what is kept. */
export class ApiKeyStore implements ApiKeys {
  readonly #topology: Topology;
  readonly #cache = new KeyCache();
  readonly #change: ReturnType<typeof defineScript>;

  constructor(topology: Topology) {
    this.#topology = topology;
    const script = new URL('./api-key-change.lua', import.meta.url);
    this.#change = defineScript(topology.redis, 'waggleApiKeyChange', script, 1);
  }

  async create(tenant: string, request: ApiKeyRequest): Promise<ApiKey> {
    const { scopes, expiresAt } = parse(ApiKeyRequest, request);
    const secret = `wgk_${randomToken(SECRET_BYTES)}`;
    const sha256 = hashOf(secret);
    const keyId = idOf(sha256);
    const expires = expiresAt === null ? null : Date.parse(expiresAt);
    await withRedis(async () => {
      await this.#assertRoom(tenant);
      await this.#store(keyId, { sha256, tenant, scopes, expires });
    });
    return { id: keyId, secret, scopes, expiresAt: isoOrNull(expires) };
  }

  async list(tenant: string): Promise<ApiKeyInfo[]> {
    return withRedis(async () => {
      const { redis, keys } = this.#topology;
      const ids = await redis.smembers(keys.tenantApiKeys(tenant));
      const found = await Promise.all(ids.map((id) => redis.hgetall(keys.apiKey(id))));
      const gone = ids.filter((_, place) => found[place]?.tenant === undefined);
      if (gone.length > 0) await redis.srem(keys.tenantApiKeys(tenant), ...gone);
      return ids
        .map((id, place) => ({ id, stored: found[place] ?? {} }))
        .filter(({ stored }) => stored.tenant === tenant)
        .map(({ id, stored }) => infoOf(id, stored))
        .sort((a, b) => (a.createdAt + a.id < b.createdAt + b.id ? -1 : 1));
    });
  }

  async revoke(tenant: string, keyId: string): Promise<void> {
    const key = this.#topology.keys.apiKey(keyId);
    const args = [tenant, 'revoked', Date.now(), NOT_REVOKED, LISTED_MS];
    const known = KEY_ID.test(keyId) && (await withRedis(() => this.#change(key, ...args))) === 1;
    if (!known) throw new WaggleError('not_found', 'There is no such key.');
    this.#cache.forget();
  }

  async removeAll(tenant: string): Promise<number> {
    return withRedis(async () => {
      const { redis, keys } = this.#topology;
      const ids = await redis.smembers(keys.tenantApiKeys(tenant));
      const removed = await Promise.all(ids.map((id) => redis.del(keys.apiKey(id))));
      // Last, so that a removal which was cut short can be repeated. A key that was made meanwhile stays known.
      if (ids.length > 0) await redis.srem(keys.tenantApiKeys(tenant), ...ids);
      this.#cache.forget();
      return removed.reduce((sum, one) => sum + one, 0);
    });
  }

  async verify(secret: string): Promise<VerifiedKey | null> {
    if (!SECRET.test(secret)) return null;
    const sha256 = hashOf(secret);
    const now = Date.now();
    const cached = this.#cache.get(sha256, now);
    if (cached) return cached.expiresAt > now ? cached.key : null;
    const remember = this.#cache.remembering(sha256, now);
    const found = await withRedis(() => this.#find(sha256));
    if (found === null) return null;
    remember(found);
    return found.key;
  }

  async #assertRoom(tenant: string): Promise<void> {
    const { redis, keys } = this.#topology;
    if ((await redis.scard(keys.tenantApiKeys(tenant))) < KEYS_MOST) return;
    if ((await this.list(tenant)).length < KEYS_MOST) return;
    throw new WaggleError('conflict', `The tenant has ${KEYS_MOST} keys: revoked ones go after seven days.`);
  }

  async #store(
    keyId: string,
    record: { sha256: string; tenant: string; scopes: Scope[]; expires: number | null },
  ): Promise<void> {
    const { redis, keys } = this.#topology;
    const { sha256, tenant, scopes, expires } = record;
    const fields = {
      sha256,
      tenant,
      scopes: scopes.join(' '),
      createdAt: Date.now(),
      expiresAt: expires ?? '',
      revoked: NOT_REVOKED,
    };
    const key = keys.apiKey(keyId);
    await Promise.all([
      redis.hset(key, fields),
      ...(expires === null ? [] : [redis.pexpireat(key, expires + LISTED_MS)]),
      redis.sadd(keys.tenantApiKeys(tenant), keyId),
    ]);
  }

  async #find(sha256: string): Promise<CachedKey | null> {
    const keyId = idOf(sha256);
    const stored = await this.#topology.redis.hgetall(this.#topology.keys.apiKey(keyId));
    const { tenant } = stored;
    if (!isSameHash(stored.sha256, sha256) || stored.revoked !== NOT_REVOKED || tenant === undefined)
      return null;
    const now = Date.now();
    const expiresAt = stored.expiresAt ? Number(stored.expiresAt) : Infinity;
    if (expiresAt <= now) return null;
    if (now - Number(stored.lastUsedAt ?? 0) >= USE_MS) this.#noteUse(keyId, tenant, now);
    return { key: { keyId, tenant, scopes: scopesOf(stored) }, expiresAt };
  }

  /** Nobody waits for it, and a note that is lost is made at the next use. */
  #noteUse(keyId: string, tenant: string, now: number): void {
    const key = this.#topology.keys.apiKey(keyId);
    this.#change(key, tenant, 'lastUsedAt', now, '', '').catch(() => undefined);
  }
}

function infoOf(id: string, stored: Record<string, string>): ApiKeyInfo {
  return {
    id,
    scopes: scopesOf(stored),
    createdAt: new Date(Number(stored.createdAt)).toISOString(),
    expiresAt: isoOrNull(stored.expiresAt ? Number(stored.expiresAt) : null),
    lastUsedAt: isoOrNull(stored.lastUsedAt ? Number(stored.lastUsedAt) : null),
    revoked: stored.revoked !== NOT_REVOKED,
  };
}

function scopesOf(stored: Record<string, string>): Scope[] {
  return (stored.scopes ?? '').split(' ').filter(Boolean) as Scope[];
}

function isoOrNull(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString();
}

function hashOf(secret: string): string {
  return hash('sha256', secret, 'hex');
}

function idOf(sha256: string): string {
  return `key_${sha256.slice(0, ID_HEX_DIGITS)}`;
}

/** In constant time, and false for what is not there. */
function isSameHash(stored: string | undefined, sha256: string): boolean {
  const expected = Buffer.from(sha256, 'hex');
  const actual = Buffer.from(stored ?? '', 'hex');
  return actual.length === expected.length && timingSafeEqual(actual, expected);
}
