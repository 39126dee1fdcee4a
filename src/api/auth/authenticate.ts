import type { Request, Response } from 'express';
import { WaggleError } from '../../shared/errors.ts';
import { addressOf } from './address.ts';
import { nameOf } from './caller.ts';
import type { Caller, CredentialCheck } from './caller.ts';
import type { FailureThrottle } from './failure-throttle.ts';
import { KnownTokens } from './known-tokens.ts';
import type { RequestRate } from './request-rate.ts';

/** RFC 6750, section 2.1. The bound keeps a hash over it cheap. */
const BEARER = /^bearer +([A-Za-z0-9._~+/!#$%&'*^`|:=-]{1,4096})$/i;

export type Authenticate = (req: Request, res: Response) => Promise<Caller>;

export interface AuthenticatorOptions {
  checks: readonly CredentialCheck[];
  /** How often an address may be wrong; null = as often as it likes. */
  throttle: FailureThrottle | null;
  /** How often a credential may call; null = as often as it likes. */
  rate: RequestRate | null;
}

/**
 * Finds out who sends a request by asking each kind of credential in turn; another kind is another check in the list.
 * Throws `unauthenticated`, with the challenge of RFC 6750 in the answer's `WWW-Authenticate`, and `rate_limited` for
 * callers and addresses that ask too often.
 */
export function authenticator({ checks, throttle, rate }: AuthenticatorOptions): Authenticate {
  const prove = throttle === null ? proof(checks) : throttled(proof(checks), throttle);
  return async (req, res) => {
    const header = req.headers.authorization;
    if (header === undefined) {
      res.setHeader('WWW-Authenticate', 'Bearer realm="waggle"');
      throw new WaggleError('unauthenticated', 'Send a token: Authorization: Bearer <token>.');
    }
    const caller = await prove(bearerToken(header), req);
    if (caller === null) {
      res.setHeader('WWW-Authenticate', 'Bearer realm="waggle", error="invalid_token"');
      throw new WaggleError('unauthenticated', 'The token is not valid, has expired or was revoked.');
    }
    rate?.take(nameOf(caller));
    return caller;
  };
}

/** Whom a token proves, null for nobody. Undefined stands for a header without one. */
type Proof = (token: string | undefined, req: Request) => Promise<Caller | null>;

function proof(checks: readonly CredentialCheck[]): Proof {
  return async (token) => {
    if (token === undefined) return null;
    for (const check of checks) {
      const caller = await check(token);
      if (caller !== null) return caller;
    }
    return null;
  };
}

/** An address that was wrong too often is not listened to, but for tokens that are known to have been right. */
function throttled(prove: Proof, throttle: FailureThrottle): Proof {
  const known = new KnownTokens();
  return async (token = '', req) => {
    const waitMs = throttle.isQuiet ? 0 : throttle.waitMs(addressOf(req));
    if (waitMs > 0 && !known.has(token)) throw tooManyFailures(throttle, waitMs);
    const caller = token === '' ? null : await prove(token, req);
    if (caller !== null) known.add(token);
    else {
      known.forget(token);
      throttle.failed(addressOf(req));
    }
    return caller;
  };
}

function tooManyFailures({ perAddress, windowMs }: FailureThrottle, waitMs: number): WaggleError {
  return new WaggleError('rate_limited', 'Too many wrong tokens came from this address.', {
    retryAfterMs: waitMs,
    quota: { policy: 'auth-failures', limit: perAddress, remaining: 0, windowMs },
  });
}

function bearerToken(header: string): string | undefined {
  return BEARER.exec(header.trim())?.[1];
}
