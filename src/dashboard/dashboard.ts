import { Router } from 'express';
import type { Request, RequestHandler, Response } from 'express';
import type { Engine } from '../../queues/engine.ts';
import { adminTokenMatcher } from '../api/auth/admin-token.ts';
import type { Audit } from '../api/audit.ts';
import type { Authenticate } from '../api/auth/authenticate.ts';
import { requireAdmin } from '../api/auth/authorize.ts';
import { FailureThrottle } from '../api/auth/failure-throttle.ts';
import { pageSecurityHeaders } from '../api/middleware/security-headers.ts';
import { requestRecord } from '../api/request-record.ts';
import { WaggleError } from '../shared/errors.ts';
import { dashboardAct } from './act.ts';
import { createBoard } from './board.ts';
import { loginRoutes } from './login.ts';
import { mayActWithCookie } from './same-origin.ts';
import { dashboardSessions } from './session.ts';
import type { Sessions } from './session.ts';
import { createTenantPages } from './tenants/tenants.ts';

/** Wrong tokens a minute. The overall bound keeps many addresses from guessing together; it costs nobody the API. */
const LOGINS = { perAddress: 5, overall: 1000 };

const READS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

export interface DashboardOptions {
  engine: Engine;
  adminToken: string;
  authenticate: Authenticate;
  audit: Audit;
  /** Where the dashboard is mounted. */
  path: string;
}

/**
 * Bull Board over every queue and shard, and pages of the tenants, for the admin: with a session after logging in, or with
 * the bearer token.
 */
export function createDashboard({ engine, adminToken, authenticate, audit, path }: DashboardOptions): Router {
  const sessions = dashboardSessions(adminToken, path);
  const throttle = new FailureThrottle(LOGINS);
  const router = Router();
  router.use(labelled(path), pageSecurityHeaders());
  router.use(loginRoutes({ path, sessions, throttle, audit, isAdminToken: adminTokenMatcher(adminToken) }));
  router.use(adminOnly(path, sessions, authenticate));
  router.use('/tenants', createTenantPages({ engine, audit, path }));
  router.use(recorded(audit), createBoard(engine.topology, path));
  return router;
}

/** One label for all of the board's paths: job ids in them would make endless series of metrics. */
function labelled(path: string): RequestHandler {
  return (_req, res, next) => {
    requestRecord(res).route = path;
    next();
  };
}

function adminOnly(path: string, sessions: Sessions, authenticate: Authenticate): RequestHandler {
  return async (req, res, next) => {
    if (sessions.holds(req)) {
      if (!mayActWithCookie(req)) throw new WaggleError('forbidden', 'This request comes from another site.');
      next();
      return;
    }
    if (req.headers.authorization === undefined && wantsPage(req)) {
      toLogin(res, path);
      return;
    }
    requireAdmin(await authenticate(req, res));
    next();
  };
}

/** What is changed through the board goes past the API, and into the same record. */
function recorded(audit: Audit): RequestHandler {
  return (req, res, next) => {
    if (!READS.has(req.method))
      res.once('finish', () => void audit(dashboardAct('dashboardWrite', req, res)));
    next();
  };
}

/** A person with a browser, as opposed to the board's own calls and to scripts. */
function wantsPage(req: Request): boolean {
  return req.method === 'GET' && (req.headers.accept ?? '').includes('text/html');
}

function toLogin(res: Response, path: string): void {
  res.setHeader('Cache-Control', 'no-store');
  res.redirect(303, `${path}/login`);
}
