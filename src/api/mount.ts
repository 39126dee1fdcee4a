import type { Express, Request, Response } from 'express';
import { z } from 'zod';
import type { Limits } from '../shared/limits.ts';
import { parse } from '../shared/validate.ts';
import { audited, isAct } from './audit.ts';
import type { Audit } from './audit.ts';
import type { Authenticate } from './auth/authenticate.ts';
import { requireAdmin, tenantFor } from './auth/authorize.ts';
import { nameOf } from './auth/caller.ts';
import type { Caller } from './auth/caller.ts';
import { checkNdjson, discardBody, hasBody, isNdjson, readJson } from './http/body.ts';
import { readQuery } from './http/query.ts';
import { sendReply } from './http/reply.ts';
import type { Reply } from './http/reply.ts';
import { requestRecord } from './request-record.ts';
import type { Route, RouteCall } from './route.ts';

export interface MountDeps {
  authenticate: Authenticate;
  audit: Audit;
  limits: Limits;
  /** Aborts when the server begins to drain. */
  draining: AbortSignal;
}

const NO_QUERY = z.strictObject({});

/**
 * Mounts a route. Before its handler runs a request passes, in this order: credential, scope and tenant, query, body.
 * So nothing is read from a caller who may not send it.
 */
export function mountRoute(app: Express, route: Route, deps: MountDeps): void {
  app[route.method](expressPath(route.path), async (req, res) => {
    const record = requestRecord(res);
    record.route = route.path;
    const caller = route.access === 'public' ? null : await deps.authenticate(req, res);
    record.caller = caller === null ? undefined : nameOf(caller);
    const tenant = tenantOf(route, caller, req, res);
    record.tenant = tenant === '' ? undefined : tenant;
    const { requestId, correlationId, traceparent } = record;
    const call: RouteCall<unknown, unknown> = {
      req,
      tenant,
      requestId,
      correlationId,
      traceparent,
      params: req.params as Record<string, string>,
      query: undefined,
      body: undefined,
      hurry: () => AbortSignal.any([deps.draining, goneSignal(res)]),
    };
    const lines = isNdjson(req) ? route.ndjson : undefined;
    const answer = async (): Promise<Reply> => {
      call.query = queryOf(route, req);
      if (lines !== undefined) {
        checkNdjson(req);
        const { limits, draining } = deps;
        await lines.handle({ req, res, tenant, requestId, correlationId, traceparent, limits, draining });
        return { status: res.statusCode };
      }
      call.body = await bodyOf(route, req, deps.limits);
      return route.handle(call as RouteCall<never, never>);
    };
    const reply = isAct(route, caller)
      ? await audited(deps.audit, route, call as RouteCall<never, never>, answer)
      : await answer();
    if (lines !== undefined) return;
    if (deps.draining.aborted) res.shouldKeepAlive = false;
    await sendReply(res, reply);
  });
}

/** `/v1/jobs/{id}` as Express writes it. */
export function expressPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1');
}

/** The tenant the caller may act for here; empty on a route without one. */
function tenantOf(route: Route, caller: Caller | null, req: Request, res: Response): string {
  if (caller === null || route.access === 'public') return '';
  if (route.access === 'tenant') return tenantFor(caller, null, req, res);
  if (route.access !== 'admin') return tenantFor(caller, route.access, req, res);
  requireAdmin(caller);
  return '';
}

/** Probes and scrapers add parameters of their own; elsewhere an unknown one is a mistake that must be heard. */
function queryOf(route: Route, req: Request): unknown {
  if (route.access === 'public' && route.query === undefined) return undefined;
  return parse(route.query ?? NO_QUERY, readQuery(req.originalUrl));
}

async function bodyOf({ body, mayLackBody }: Route, req: Request, limits: Limits): Promise<unknown> {
  if (body === undefined) return discardBody(req);
  const json = mayLackBody && !hasBody(req) ? {} : await readJson(req, limits.bodyBytes);
  return parse(body, json, { jsonDepth: limits.jsonDepth });
}

function goneSignal(res: Response): AbortSignal {
  const gone = new AbortController();
  res.once('close', () => gone.abort());
  return gone.signal;
}
