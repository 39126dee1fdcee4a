import helmet from 'helmet';
import type { RequestHandler } from 'express';

type Directives = Record<string, string[]>;

/** Headers for answers that no browser should render, run or frame. */
export function apiSecurityHeaders(): RequestHandler {
  return withPolicy({ defaultSrc: ["'none'"], frameAncestors: ["'none'"] });
}

/**
 * Headers for the dashboard's pages. Everything comes from this server. Bull Board's page holds inline styles but no
 * inline script (its one inline script element is a block of JSON, which is never run); it names a font host, which
 * this policy leaves unasked.
 */
export function pageSecurityHeaders(): RequestHandler {
  return withPolicy({ ...ownPage, styleSrc: ["'self'", "'unsafe-inline'"] });
}

/** Headers for the page that shows the API's document: everything comes from this server, and from files only. */
export function docsSecurityHeaders(): RequestHandler {
  return withPolicy(ownPage);
}

const ownPage: Directives = {
  defaultSrc: ["'none'"],
  baseUri: ["'self'"],
  connectSrc: ["'self'"],
  fontSrc: ["'self'"],
  formAction: ["'self'"],
  frameAncestors: ["'none'"],
  imgSrc: ["'self'", 'data:'],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
};

function withPolicy(directives: Directives): RequestHandler {
  return helmet({
    contentSecurityPolicy: { useDefaults: false, directives },
    xFrameOptions: { action: 'deny' },
    xPoweredBy: false,
  });
}
