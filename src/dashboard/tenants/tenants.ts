import { readFileSync } from 'node:fs';
import { Router } from 'express';
import type { Request, Response } from 'express';
import { z } from 'zod';
import type { Engine } from '../../../queues/engine.ts';
import { namedTenant, recordedAct } from '../../api/audit.ts';
import type { Audit } from '../../api/audit.ts';
import { discardBody } from '../../api/http/body.ts';
import { readQuery } from '../../api/http/query.ts';
import { requestRecord } from '../../api/request-record.ts';
import { DEFAULT_TENANT } from '../../shared/ids.ts';
import { TenantId } from '../../shared/schemas.ts';
import { parse } from '../../shared/validate.ts';
import { readForm } from '../form.ts';
import { sendPage } from '../send-page.ts';
import { placesIn, tenantPath } from './layout.ts';
import { listPage } from './list-page.ts';
import { chosenLength } from './pause.ts';
import { readIds, readList, readTenant } from './readings.ts';
import { tenantPage } from './tenant-page.ts';

const ListQuery = z.strictObject({
  id: z.string().trim().max(64).default(''),
  cursor: TenantId.optional(),
});
const NoQuery = z.strictObject({});

export interface TenantPagesOptions {
  engine: Engine;
  audit: Audit;
  /** Where the dashboard is mounted. */
  path: string;
}

/**
 * Pages of the tenants, whole without a script: the list, and one for each with buttons to pause and resume it. Whoever
 * gets here is the admin.
 */
export function createTenantPages({ engine, audit, path }: TenantPagesOptions): Router {
  const places = placesIn(path);
  const style = readFileSync(new URL('./tenants.css', import.meta.url), 'utf8');
  const router = Router();

  router.get('/tenants.css', (_req, res) => {
    res.setHeader('Cache-Control', 'no-cache');
    res.type('css').send(style);
  });

  router.get('/', async (req, res) => {
    const { id, cursor } = parse(ListQuery, readQuery(req.originalUrl));
    const found = await readIds(engine, { id, cursor });
    const isOne = found.ids.length === 1 && found.ids[0] === id;
    if (isOne || id === DEFAULT_TENANT) res.redirect(303, tenantPath(places, id));
    else sendPage(res, 200, listPage(places, await readList(engine, { id, cursor }, found)));
  });

  router.get('/:id', async (req, res) => {
    parse(NoQuery, readQuery(req.originalUrl));
    sendPage(res, 200, tenantPage(places, await readTenant(engine, req.params.id)));
  });

  router.post('/:id/pause', async (req, res) => {
    const { id } = req.params;
    await acted('pauseTenant', id, req, res, async () => {
      const untilMs = chosenLength(await readForm(req));
      await engine.tenants.pause(id, untilMs);
      return { untilMs };
    });
  });

  router.post('/:id/resume', async (req, res) => {
    const { id } = req.params;
    await acted('resumeTenant', id, req, res, async () => {
      await discardBody(req);
      await engine.tenants.resume(id);
      return {};
    });
  });

  /** Does it, records it as the API records the same call, and shows what came of it. */
  async function acted(
    action: string,
    id: string,
    req: Request,
    res: Response,
    perform: () => Promise<Record<string, unknown>>,
  ): Promise<void> {
    const act = {
      actor: 'admin',
      action,
      target: `${req.baseUrl}${req.path}`,
      tenant: namedTenant(id),
      requestId: requestRecord(res).requestId,
    };
    await recordedAct(audit, act, perform, (detail) => ({ status: 303, detail }));
    res.redirect(303, tenantPath(places, id));
  }

  return router;
}
