import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { Router } from 'express';
import { docsSecurityHeaders } from '../api/middleware/security-headers.ts';
import { requestRecord } from '../api/request-record.ts';
import { docsPage, startScript } from './page.ts';

const PACKAGE = 'swagger-ui-dist/package.json';
const ASSETS = ['swagger-ui.css', 'swagger-ui-bundle.js'];
const START = 'start.js';

/**
 * The page that shows the API's document, for anybody: it holds no more than the document does. Its files have the
 * package's version in their paths, so browsers may keep them for ever and still get new ones with a new version.
 * @param path where it is mounted
 */
export function createDocs(path: string, documentPath: string): Router {
  const resolve = createRequire(import.meta.url);
  const { version } = resolve(PACKAGE) as { version: string };
  const root = dirname(resolve.resolve(PACKAGE));
  const page = docsPage(`${path}/${version}`, {
    styles: 'swagger-ui.css',
    scripts: ['swagger-ui-bundle.js', START],
  });
  const script = startScript(documentPath);
  const router = Router();
  router.use(docsSecurityHeaders(), (_req, res, next) => {
    requestRecord(res).route = path;
    next();
  });
  router.get('/', (_req, res) => {
    // Asked for each time, so that an upgrade is seen at once.
    res.setHeader('Cache-Control', 'no-cache');
    res.type('html').send(page);
  });
  for (const name of ASSETS) {
    router.get(`/${version}/${name}`, (_req, res, next) => {
      res.sendFile(name, { root, immutable: true, maxAge: YEAR_MS }, (error) => {
        if (error) next(error);
      });
    });
  }
  router.get(`/${version}/${START}`, (_req, res) => {
    res.setHeader('Cache-Control', 'no-cache');
    res.type('js').send(script);
  });
  return router;
}

const YEAR_MS = 365 * 86_400_000;
