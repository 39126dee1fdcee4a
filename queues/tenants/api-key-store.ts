import { createHash, timingSafeEqual } from 'node:crypto';
import { randomToken } from '../../src/shared/ids.ts';
import { ApiKeyRequest } from '../../src/shared/tenant-schemas.ts';
import type { ApiKey, Scope } from '../../src/shared/tenant-schemas.ts';
import { parse } from '../../src/shared/validate.ts';
import { withRedis } from '../topology/redis-errors.ts';
import type { Topology } from '../topology/topology.ts';
import type { ApiKeys, VerifiedKey } from './types.ts';

const SECRET = /^wgk_[A-Za-z0-9_-]{43}$/;
const SECRET_BYTES = 32;
/** Part of the hash that names the key: far too little to tell anything of a secret of 256 random bits. */
const ID_HEX_DIGITS = 24;
/** So long may a revoked key still be taken by a process that has just seen it. */
const CACHE_MS = 3000;
const CACHE_MOST = 5000;

interface CachedKey {
  key: VerifiedKey;
  /** ms epoch; Infinity for a key that never expires */
  expiresAt: number;
  until: number;
}

/** API keys: the secret is shown once, its SHA-256 is what is kept. */
export class ApiKeyStore implements ApiKeys {
  readonly #topology: Topology;
  /** By hash, so that no secret lies in memory longer than its request. Oldest first. */
  readonly #cache = new Map<string, CachedKey>();

  constructor(topology: Topology) {
    this.#topology = topology;
  }

  async create(tenant: string, request: ApiKeyRequest): Promise<ApiKey> {
    const { scopes, expiresAt } = parse(ApiKeyRequest, request);
    const secret = `wgk_${randomToken(SECRET_BYTES)}`;
    const sha256 = hashOf(secret);
    const keyId = idOf(sha256);
    const expires = expiresAt === null ? null : Date.parse(expiresAt);
    await withRedis(() => this.#store(keyId, { sha256, tenant, scopes, expires }));
    return {
      id: keyId,
      secret,
      scopes,
      expiresAt: expires === null ? null : new Date(expires).toISOString(),
    };
  }

  async verify(secret: string): Promise<VerifiedKey | null> {
    if (!SECRET.test(secret)) return null;
    const sha256 = hashOf(secret);
    const cached = this.#cache.get(sha256);
    const now = Date.now();
    if (cached && cached.until > now) return cached.expiresAt > now ? cached.key : null;
    const found = await withRedis(() => this.#find(sha256));
    if (found === null) return null;
    this.#remember(sha256, { ...found, until: now + CACHE_MS });
    return found.key;
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
      revoked: 0,
    };
    const key = keys.apiKey(keyId);
    await Promise.all([
      redis.hset(key, fields),
      ...(expires === null ? [] : [redis.pexpireat(key, expires)]),
      redis.sadd(keys.tenantApiKeys(tenant), keyId),
    ]);
  }

  async #find(sha256: string): Promise<{ key: VerifiedKey; expiresAt: number } | null> {
    const keyId = idOf(sha256);
    const stored = await this.#topology.redis.hgetall(this.#topology.keys.apiKey(keyId));
    if (!isSameHash(stored.sha256, sha256) || stored.revoked !== '0' || stored.tenant === undefined)
      return null;
    const expiresAt = stored.expiresAt ? Number(stored.expiresAt) : Infinity;
    if (expiresAt <= Date.now()) return null;
    const scopes = (stored.scopes ?? '').split(' ').filter(Boolean) as Scope[];
    return { key: { keyId, tenant: stored.tenant, scopes }, expiresAt };
  }

  #remember(sha256: string, cached: CachedKey): void {
    this.#cache.delete(sha256);
    this.#cache.set(sha256, cached);
    if (this.#cache.size <= CACHE_MOST) return;
    const [oldest] = this.#cache.keys();
    if (oldest !== undefined) this.#cache.delete(oldest);
  }
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
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
