import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Request, Response } from 'express';

const COOKIE = 'waggle_dashboard';
const LIFETIME_MS = 8 * 3_600_000;

export interface Sessions {
  /** Puts a fresh session into the answer's cookie. */
  start(req: Request, res: Response): void;
  /** Whether the request carries a session that this server, or another with the same admin token, made. */
  holds(req: Request): boolean;
  /** Takes the cookie away. */
  end(res: Response): void;
}

/**
 * Dashboard sessions without a store: the cookie says until when it is valid and is signed with a key derived from the
 * admin token. So every API process accepts it, and changing the admin token ends them all.
 * @param path the only path the cookie is sent to
 */
export function dashboardSessions(adminToken: string, path: string, now: () => number = Date.now): Sessions {
  const key = Buffer.from(hkdfSync('sha256', adminToken, '', 'waggle dashboard session', 32));
  const sign = (claims: string): Buffer => createHmac('sha256', key).update(claims).digest();

  return {
    start(req, res) {
      const claims = `${now() + LIFETIME_MS}.${randomBytes(12).toString('base64url')}`;
      res.cookie(COOKIE, `${claims}.${sign(claims).toString('base64url')}`, {
        httpOnly: true,
        maxAge: LIFETIME_MS,
        path,
        sameSite: 'strict',
        secure: isHttps(req),
      });
    },
    holds(req) {
      const cookie = cookieValue(req.headers.cookie);
      const [expiresAt, nonce, signature] = cookie?.split('.') ?? [];
      if (expiresAt === undefined || nonce === undefined || signature === undefined) return false;
      const given = Buffer.from(signature, 'base64url');
      const expected = sign(`${expiresAt}.${nonce}`);
      return (
        given.length === expected.length && timingSafeEqual(given, expected) && Number(expiresAt) > now()
      );
    },
    end(res) {
      res.clearCookie(COOKIE, { path, httpOnly: true, sameSite: 'strict' });
    },
  };
}

function cookieValue(header: string | undefined): string | undefined {
  for (const pair of header?.split(';') ?? []) {
    const [name, value] = pair.split('=');
    if (name?.trim() === COOKIE) return value?.trim();
  }
  return undefined;
}

/** A caller who forges the forwarding header only makes its own cookie stricter. */
function isHttps(req: Request): boolean {
  return req.secure || req.headers['x-forwarded-proto'] === 'https';
}
