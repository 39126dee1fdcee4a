import type { Request, Response } from 'express';
import { WaggleError } from '../../shared/errors.ts';
import { isTenantId } from '../../shared/ids.ts';
import type { Scope } from '../../shared/tenant-schemas.ts';
import type { Caller } from './caller.ts';

/**
 * The tenant a request is for. It comes from the credential alone; only the admin names one, in `X-Tenant-Id`.
 * Throws `forbidden` without `scope` (null: any credential of a tenant will do) or for another tenant, `validation` when the admin names none.
 */
export function tenantFor(caller: Caller, scope: Scope | null, req: Request, res: Response): string {
  const named = req.headers['x-tenant-id'];
  if (caller.kind === 'admin') return tenantNamedByAdmin(named);
  if (scope !== null && !caller.scopes.includes(scope)) {
    res.setHeader('WWW-Authenticate', `Bearer realm="waggle", error="insufficient_scope", scope="${scope}"`);
    throw new WaggleError('forbidden', `This needs the scope ${scope}.`);
  }
  if (named !== undefined && named !== caller.tenant) {
    throw new WaggleError('forbidden', 'Only the admin may act for another tenant.');
  }
  return caller.tenant;
}

/** Throws `forbidden` for anyone but the admin. */
export function requireAdmin(caller: Caller): void {
  if (caller.kind !== 'admin') throw new WaggleError('forbidden', 'This needs the admin token.');
}

function tenantNamedByAdmin(named: string | string[] | undefined): string {
  if (typeof named === 'string' && isTenantId(named)) return named;
  throw new WaggleError('validation', 'The admin acts for a tenant here: name it in X-Tenant-Id.', {
    errors: [{ path: 'X-Tenant-Id', message: named === undefined ? 'is required' : 'is not a tenant id' }],
  });
}
