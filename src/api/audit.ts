import type { AuditAct, AuditLog } from '../../queues/audit/log.ts';
import { DEFAULT_TENANT, isTenantId } from '../shared/ids.ts';
import type { Logger } from '../shared/logger.ts';
import type { Caller } from './auth/caller.ts';
import { RequestAbortedError } from './http/body.ts';
import type { Reply } from './http/reply.ts';
import { toWaggleError } from './problem.ts';
import type { Route, RouteCall } from './route.ts';

/** Records an act. Never rejects: an act that cannot be recorded is still answered, and stands in the log. */
export type Audit = (act: AuditAct) => Promise<void>;

export function auditor(log: AuditLog, logger: Logger): Audit {
  return async (act) => {
    try {
      await log.append(act);
    } catch (error) {
      logger.error({ err: error, act }, 'an act could not be recorded');
    }
  };
}

/** Whether a call is one of administration: whatever the admin changes, also for a tenant. */
export function isAct(route: Route, caller: Caller | null): boolean {
  return caller?.kind === 'admin' && route.method !== 'get';
}

/** Answers a call of the admin and records it, whatever comes of it. */
export async function audited(
  audit: Audit,
  route: Route,
  call: RouteCall<never, never>,
  handle: () => Promise<Reply>,
): Promise<Reply> {
  const act = {
    actor: 'admin',
    action: route.operationId,
    target: call.req.path,
    tenant: tenantOf(route, call),
    requestId: call.requestId,
  };
  return recordedAct(audit, act, handle, (reply) => ({
    status: reply.status,
    detail: detailOf(route, call, reply),
  }));
}

/** Does what the admin asks for and records it, whatever comes of it. */
export async function recordedAct<T>(
  audit: Audit,
  act: Omit<AuditAct, 'status' | 'detail'>,
  perform: () => Promise<T>,
  outcomeOf: (result: T) => Pick<AuditAct, 'status' | 'detail'>,
): Promise<T> {
  try {
    const result = await perform();
    await audit({ ...act, ...outcomeOf(result) });
    return result;
  } catch (error) {
    if (!(error instanceof RequestAbortedError)) {
      const { status, code } = toWaggleError(error);
      await audit({ ...act, status, detail: { code } });
    }
    throw error;
  }
}

function tenantOf(route: Route, { tenant, params }: RouteCall<never, never>): string | null {
  if (tenant !== '') return tenant;
  return route.path.startsWith('/v1/tenants/') ? namedTenant(params['id'] ?? '') : null;
}

/** The tenant that a path names, as it is recorded; null for what cannot be one. */
export function namedTenant(id: string): string | null {
  return id === DEFAULT_TENANT || isTenantId(id) ? id : null;
}

function detailOf(route: Route, call: RouteCall<never, never>, reply: Reply): AuditAct['detail'] {
  const location = reply.headers?.['Location'];
  return { ...(location === undefined ? {} : { location }), ...route.auditDetail?.(call, reply) };
}
