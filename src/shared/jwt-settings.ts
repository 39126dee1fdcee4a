import { z } from 'zod';

/** Which tokens of others are taken for credentials. At least one of `secret` and `jwksUrl` is set. */
export interface JwtSettings {
  /** For HS256. */
  secret: string | null;
  /** Where the issuer's public keys are; for RS256, PS256, ES256 and EdDSA. */
  jwksUrl: string | null;
  /** What `iss` must be; null = anything. */
  issuer: string | null;
  /** What `aud` must be or hold; null = anything. */
  audience: string | null;
}

/** HS256 with less than its hash is wide can be guessed (RFC 7518, section 3.2). */
const SECRET_BYTES = 32;

export const jwtVariables = {
  WAGGLE_JWT_SECRET: z
    .string()
    .refine((secret) => Buffer.byteLength(secret) >= SECRET_BYTES, `must have ${SECRET_BYTES} or more bytes`)
    .optional(),
  WAGGLE_JWKS_URL: z.string().refine(isHttpUrl, 'must be a URL such as https://issuer/jwks.json').optional(),
  WAGGLE_JWT_ISSUER: z.string().optional(),
  WAGGLE_JWT_AUDIENCE: z.string().optional(),
};

type JwtVariables = z.output<z.ZodObject<typeof jwtVariables>>;

/** A rule for tokens where none are taken is a mistake that must be heard. */
export function refuseIdleRules(values: Partial<JwtVariables>, context: z.RefinementCtx): void {
  if (values.WAGGLE_JWT_SECRET !== undefined || values.WAGGLE_JWKS_URL !== undefined) return;
  for (const name of ['WAGGLE_JWT_ISSUER', 'WAGGLE_JWT_AUDIENCE'] as const) {
    if (values[name] === undefined) continue;
    context.addIssue({
      code: 'custom',
      path: [name],
      message: 'has no meaning without WAGGLE_JWT_SECRET or WAGGLE_JWKS_URL',
    });
  }
}

/** Null when no JWT is taken. */
export function jwtSettings(values: JwtVariables): JwtSettings | null {
  const { WAGGLE_JWT_SECRET: secret = null, WAGGLE_JWKS_URL: jwksUrl = null } = values;
  if (secret === null && jwksUrl === null) return null;
  const { WAGGLE_JWT_ISSUER: issuer = null, WAGGLE_JWT_AUDIENCE: audience = null } = values;
  return { secret, jwksUrl, issuer, audience };
}

function isHttpUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, username, password } = new URL(value);
  return /^https?:$/.test(protocol) && username === '' && password === '';
}
