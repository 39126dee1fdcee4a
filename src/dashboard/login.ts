import { Router } from 'express';
import type { Audit } from '../api/audit.ts';
import { addressOf } from '../api/auth/address.ts';
import type { FailureThrottle } from '../api/auth/failure-throttle.ts';
import { WaggleError } from '../shared/errors.ts';
import { dashboardAct } from './act.ts';
import { readForm } from './form.ts';
import { loginPage, logoutPage } from './pages.ts';
import { mayActWithCookie } from './same-origin.ts';
import { sendPage } from './send-page.ts';
import type { Sessions } from './session.ts';

export interface LoginDeps {
  /** Where the dashboard is mounted. */
  path: string;
  sessions: Sessions;
  throttle: FailureThrottle;
  isAdminToken: (token: string) => boolean;
  audit: Audit;
}

/** Login and logout for a browser. The token travels in the body of one POST and is then replaced by a session. */
export function loginRoutes({ path, sessions, throttle, isAdminToken, audit }: LoginDeps): Router {
  const router = Router();

  router.get('/login', (_req, res) => sendPage(res, 200, loginPage(path)));

  router.post('/login', async (req, res) => {
    if (!mayActWithCookie(req)) throw fromElsewhere();
    const token = (await readForm(req)).get('token') ?? '';
    const address = addressOf(req);
    const waitMs = throttle.waitMs(address);
    if (waitMs > 0) {
      res.setHeader('Retry-After', Math.ceil(waitMs / 1000));
      sendPage(res, 429, loginPage(path, 'Too many wrong tokens. Try again in a minute.'));
    } else if (isAdminToken(token)) {
      sessions.start(req, res);
      res.status(303);
      await audit(dashboardAct('dashboardLogin', req, res));
      res.redirect(303, path);
    } else {
      throttle.failed(address);
      res.setHeader('WWW-Authenticate', 'Bearer realm="waggle"');
      sendPage(res, 401, loginPage(path, 'That is not the admin token.'));
    }
  });

  router.get('/logout', (_req, res) => sendPage(res, 200, logoutPage(path)));

  router.post('/logout', (req, res) => {
    if (!mayActWithCookie(req)) throw fromElsewhere();
    sessions.end(res);
    res.redirect(303, `${path}/login`);
  });

  return router;
}

function fromElsewhere(): WaggleError {
  return new WaggleError('forbidden', 'This request comes from another site.');
}
