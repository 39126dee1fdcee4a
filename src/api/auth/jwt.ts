import { decodeProtectedHeader, jwtVerify } from 'jose';
import type { JWTPayload, JWTVerifyOptions } from 'jose';
import { WaggleError } from '../../shared/errors.ts';
import { isTenantId } from '../../shared/ids.ts';
import type { JwtSettings } from '../../shared/jwt-settings.ts';
import { Scope } from '../../shared/tenant-schemas.ts';
import type { CredentialCheck, TenantCaller } from './caller.ts';
import { Jwks } from './jwks.ts';

/** Three parts of base64url. An API key is none, nor is an admin token without two dots. */
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
const BY_SECRET = 'HS256';
const BY_KEY_SET = ['RS256', 'PS256', 'ES256', 'EdDSA'];
/** How far the issuer's clock may be off. */
const TOLERANCE_S = 5;
const SUBJECT_CHARS = 128;

type Verify = (token: string) => Promise<JWTPayload>;

/**
 * Callers by JWT. A token signed with the shared secret is checked with the secret alone and one signed with a key pair
 * with the key set alone: so a public key is never taken for a secret.
 */
export function jwtCheck(settings: JwtSettings): CredentialCheck {
  const verifiers = verifiersOf(settings);
  return async (token) => {
    const verify = COMPACT.test(token) ? verifiers.get(algorithmOf(token)) : undefined;
    if (verify === undefined) return null;
    try {
      return callerOf(await verify(token));
    } catch (error) {
      // Whatever else is wrong with a token, or with a key in the set, it proves nobody.
      if (error instanceof WaggleError) throw error;
      return null;
    }
  };
}

function verifiersOf({ secret, jwksUrl, issuer, audience }: JwtSettings): ReadonlyMap<string, Verify> {
  const rules: JWTVerifyOptions = {
    clockTolerance: TOLERANCE_S,
    requiredClaims: ['exp', 'tenant_id'],
    ...(issuer === null ? {} : { issuer }),
    ...(audience === null ? {} : { audience }),
  };
  const verifiers = new Map<string, Verify>();
  if (secret !== null) {
    const key = new TextEncoder().encode(secret);
    const options = { ...rules, algorithms: [BY_SECRET] };
    verifiers.set(BY_SECRET, async (token) => (await jwtVerify(token, key, options)).payload);
  }
  if (jwksUrl !== null) {
    const jwks = new Jwks({ url: jwksUrl });
    const options = { ...rules, algorithms: BY_KEY_SET };
    const verify: Verify = async (token) => (await jwtVerify(token, jwks.key, options)).payload;
    for (const algorithm of BY_KEY_SET) verifiers.set(algorithm, verify);
  }
  return verifiers;
}

function algorithmOf(token: string): string {
  try {
    return decodeProtectedHeader(token).alg ?? '';
  } catch {
    return '';
  }
}

/** Null when the claims, whoever signed them, name no tenant, or scopes in a form nobody knows. */
function callerOf({ tenant_id: tenant, scope = '', sub = '' }: JWTPayload): TenantCaller | null {
  const names = scopeNames(scope);
  if (typeof tenant !== 'string' || !isTenantId(tenant) || names === null) return null;
  const scopes = names.flatMap((name) => {
    const known = Scope.safeParse(name);
    return known.success ? [known.data] : [];
  });
  const subject = typeof sub === 'string' ? sub.slice(0, SUBJECT_CHARS) : '';
  return { kind: 'tenant', tenant, scopes, credential: `jwt:${tenant}:${subject}` };
}

/** One text with spaces in between (RFC 8693, section 4.2), or a list, as some issuers write it. */
function scopeNames(scope: unknown): string[] | null {
  if (typeof scope === 'string') return scope.split(' ');
  return Array.isArray(scope) && scope.every((name) => typeof name === 'string') ? scope : null;
}
