import type { Request } from 'express';

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD']);

/**
 * Whether a request may act with a cookie: browsers say where a request comes from (`Sec-Fetch-Site`, and `Origin` on
 * every POST), and what another site sent must not act. A caller that says neither is no browser, so no page can be
 * using it.
 */
export function mayActWithCookie(req: Request): boolean {
  if (SAFE_METHODS.has(req.method)) return true;
  const site = req.headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin';
  const origin = req.headers.origin;
  if (origin === undefined) return true;
  return URL.canParse(origin) && new URL(origin).host === req.headers.host;
}
