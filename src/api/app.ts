import express from 'express';
import type { Express } from 'express';
import type { Engine } from '../../queues/engine.ts';
import { createDashboard } from '../dashboard/dashboard.ts';
import { createDocs } from '../docs/docs.ts';
import type { Logger } from '../shared/logger.ts';
import type { ApiSettings } from '../shared/settings.ts';
import type { Tracing } from '../shared/tracing.ts';
import { auditor } from './audit.ts';
import { adminTokenCheck } from './auth/admin-token.ts';
import { apiKeyCheck } from './auth/api-key.ts';
import { authenticator } from './auth/authenticate.ts';
import type { Authenticate } from './auth/authenticate.ts';
import { FailureThrottle } from './auth/failure-throttle.ts';
import { jwtCheck } from './auth/jwt.ts';
import { RequestRate } from './auth/request-rate.ts';
import { createApiMetrics } from './metrics.ts';
import { errorHandler, notFound } from './middleware/errors.ts';
import { oneHost } from './middleware/one-host.ts';
import { refuseWhenDraining } from './middleware/refuse-when-draining.ts';
import { requestContext } from './middleware/request-context.ts';
import { requestLog } from './middleware/request-log.ts';
import { requestTrace } from './middleware/request-trace.ts';
import { apiSecurityHeaders } from './middleware/security-headers.ts';
import { mountRoute } from './mount.ts';
import { routeTable } from './route-table.ts';
import { OPENAPI_PATH } from './routes/openapi.ts';

const DASHBOARD = '/dashboard';
const DOCS = '/docs';

export interface AppOptions {
  engine: Engine;
  settings: ApiSettings;
  logger: Logger;
  /** Aborted when the server begins to drain; an app that is given none never drains. */
  draining?: AbortSignal;
  /** Null = nothing is traced. */
  tracing?: Tracing | null;
}

/** The whole HTTP API as an Express app. It opens nothing and reads no environment. */
export function createApp({
  engine,
  settings,
  logger,
  draining = new AbortController().signal,
  tracing = null,
}: AppOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  // Answers show a state that changes by the moment; a validator would cost a hash of each and match hardly ever.
  app.disable('etag');
  app.enable('case sensitive routing');
  // Routes read the query themselves: Express' parser accepts repeated names.
  app.set('query parser', false);
  app.set('trust proxy', settings.access.proxies);

  const metrics = createApiMetrics(engine);
  const authenticate = callersOf(engine, settings);
  const audit = auditor(engine.audit, logger);

  app.use(
    requestContext(),
    ...(tracing === null ? [] : [requestTrace(tracing)]),
    metrics.observe,
    requestLog(logger),
    apiSecurityHeaders(),
    oneHost(),
    refuseWhenDraining(draining),
  );
  for (const route of routeTable({ engine }, metrics)) {
    mountRoute(app, route, { authenticate, audit, limits: settings.limits, draining });
  }
  app.use(
    DASHBOARD,
    createDashboard({
      engine,
      adminToken: settings.adminToken,
      authenticate,
      audit,
      path: DASHBOARD,
    }),
  );
  app.use(DOCS, createDocs(DOCS, OPENAPI_PATH));
  app.use(notFound(), errorHandler(logger));
  return app;
}

function callersOf(engine: Engine, { adminToken, jwt, access }: ApiSettings): Authenticate {
  const { rate, burst, failures } = access;
  return authenticator({
    checks: [
      adminTokenCheck(adminToken),
      apiKeyCheck(engine.apiKeys),
      ...(jwt === null ? [] : [jwtCheck(jwt)]),
    ],
    throttle: failures === 0 ? null : new FailureThrottle({ perAddress: failures }),
    rate: rate === 0 ? null : new RequestRate({ rate, burst }),
  });
}
