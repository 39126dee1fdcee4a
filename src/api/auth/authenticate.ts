import type { Request, Response } from 'express';
import { WaggleError } from '../../shared/errors.ts';
import type { Caller, CredentialCheck } from './caller.ts';

/** RFC 6750, section 2.1. The bound keeps a hash over it cheap. */
const BEARER = /^bearer +([A-Za-z0-9._~+/!#$%&'*^`|:=-]{1,4096})$/i;

export type Authenticate = (req: Request, res: Response) => Promise<Caller>;

/**
 * Finds out who sends a request by asking each kind of credential in turn; another kind (a JWT) is another check in the
 * list. Throws `unauthenticated`, with the challenge of RFC 6750 in the answer's `WWW-Authenticate`.
 */
export function authenticator(checks: readonly CredentialCheck[]): Authenticate {
  return async (req, res) => {
    const header = req.headers.authorization;
    if (header === undefined) {
      res.setHeader('WWW-Authenticate', 'Bearer realm="waggle"');
      throw new WaggleError('unauthenticated', 'Send a token: Authorization: Bearer <token>.');
    }
    const token = bearerToken(header);
    for (const check of token === undefined ? [] : checks) {
      const caller = await check(token ?? '');
      if (caller !== null) return caller;
    }
    res.setHeader('WWW-Authenticate', 'Bearer realm="waggle", error="invalid_token"');
    throw new WaggleError('unauthenticated', 'The token is not valid, has expired or was revoked.');
  };
}

function bearerToken(header: string): string | undefined {
  return BEARER.exec(header.trim())?.[1];
}
