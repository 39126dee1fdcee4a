import { z } from 'zod';
import type { Engine } from '../../../queues/engine.ts';
import { DEFAULT_TENANT } from '../../shared/ids.ts';
import { PurgeStatus, TenantRemoval } from '../../shared/purge-schemas.ts';
import { TenantId } from '../../shared/schemas.ts';
import { PauseRequest, Tenant, TenantSettings } from '../../shared/tenant-schemas.ts';
import { invalid } from '../../shared/validate.ts';
import { tenant } from '../openapi/examples/tenants.ts';
import type { Reply } from '../http/reply.ts';
import { defineRoute } from '../route.ts';
import type { Route, RouteDeps } from '../route.ts';

const TenantList = z.strictObject({ tenants: z.array(Tenant) }).meta({
  id: 'TenantList',
  description: 'Every tenant that was configured.',
  examples: [{ tenants: [tenant] }],
});

const TenantParam = z.union([TenantId, z.literal('*')]).meta({
  description: 'Tenant id; `*` stands for the defaults of tenants nobody configured.',
  examples: ['acme'],
});

/** Settings of tenants, for the admin. */
export function tenantRoutes({ engine }: RouteDeps): Route[] {
  const put = defineRoute({
    method: 'put',
    path: '/v1/tenants/{id}',
    operationId: 'putTenant',
    summary: 'Configure a tenant',
    description: 'Takes effect on the next pick, without a restart.',
    tag: 'tenants',
    access: 'admin',
    params: { id: TenantParam },
    body: TenantSettings,
    responses: { 200: { description: 'The tenant as it is now.', schema: Tenant } },
    async handle({ params, body }) {
      return { status: 200, body: await engine.tenants.put(params['id'] ?? '', body) };
    },
    auditDetail: ({ body }) => body,
  });

  const get = defineRoute({
    method: 'get',
    path: '/v1/tenants/{id}',
    operationId: 'getTenant',
    summary: 'A tenant',
    tag: 'tenants',
    access: 'admin',
    params: { id: TenantParam },
    responses: { 200: { description: 'The tenant as it is now.', schema: Tenant } },
    problems: ['not_found'],
    async handle({ params }) {
      return { status: 200, body: await engine.tenants.get(params['id'] ?? '') };
    },
  });

  const list = defineRoute({
    method: 'get',
    path: '/v1/tenants',
    operationId: 'listTenants',
    summary: 'Every configured tenant',
    tag: 'tenants',
    access: 'admin',
    responses: { 200: { description: 'The tenants, by id.', schema: TenantList } },
    async handle() {
      return { status: 200, body: { tenants: await engine.tenants.list() } };
    },
  });

  const pause = defineRoute({
    method: 'post',
    path: '/v1/tenants/{id}/pause',
    operationId: 'pauseTenant',
    summary: "Start none of a tenant's jobs, for a while or until it is resumed",
    description: 'Jobs that run go on. Without a body: until it is resumed.',
    tag: 'tenants',
    access: 'admin',
    params: { id: TenantParam },
    body: PauseRequest,
    mayLackBody: true,
    responses: { 200: { description: 'The tenant as it is now.', schema: Tenant } },
    problems: ['not_found'],
    async handle({ params, body }) {
      return { status: 200, body: await engine.tenants.pause(params['id'] ?? '', durationOf(body.untilMs)) };
    },
    auditDetail: ({ body }) => body,
  });

  const resume = defineRoute({
    method: 'post',
    path: '/v1/tenants/{id}/resume',
    operationId: 'resumeTenant',
    summary: 'End a pause',
    tag: 'tenants',
    access: 'admin',
    params: { id: TenantParam },
    responses: { 200: { description: 'The tenant as it is now.', schema: Tenant } },
    problems: ['not_found'],
    async handle({ params }) {
      return { status: 200, body: await engine.tenants.resume(params['id'] ?? '') };
    },
  });

  const remove = defineRoute({
    method: 'delete',
    path: '/v1/tenants/{id}',
    operationId: 'deleteTenant',
    summary: 'Remove a tenant',
    description:
      'Its settings and keys go; its jobs stay, and run by the defaults of tenant `*`. With `purge=true` everything it ' +
      'owns goes: jobs in every state (running ones are cancelled), flows, usage. A purge that is not done in some ' +
      'seconds is gone on with by the workers; the call may be repeated to see how far it is, and goes on with it as ' +
      'well. Until it is done the tenant starts nothing and takes no jobs.',
    tag: 'tenants',
    access: 'admin',
    params: { id: TenantParam },
    query: TenantRemoval,
    responses: {
      202: { description: 'The purge goes on.', schema: PurgeStatus },
      204: { description: 'It is gone, also when there was nothing.' },
    },
    problems: ['not_found'],
    async handle({ params, query, hurry }) {
      const tenant = params['id'] ?? '';
      return query.purge ? purge(engine, tenant, hurry()) : forget(engine, tenant);
    },
    auditDetail: ({ query }, { body }) => ({ ...query, ...(body ?? {}) }),
  });

  return [list, get, put, remove, pause, resume];
}

async function forget({ tenants, apiKeys }: Engine, tenant: string): Promise<Reply> {
  await tenants.remove(tenant);
  await apiKeys.removeAll(tenant);
  return { status: 204 };
}

async function purge({ purges }: Engine, tenant: string, hurry: AbortSignal): Promise<Reply> {
  if (tenant === DEFAULT_TENANT) {
    throw invalid('validation', [{ path: 'purge', message: 'is not for the defaults of all tenants' }]);
  }
  const until = performance.now() + PURGE_MS;
  const { done, removed, remaining } = await purges.purge(
    tenant,
    () => performance.now() < until && !hurry.aborted,
  );
  return done ? { status: 204 } : { status: 202, body: { tenant, removed, remaining } };
}

/** How long a caller waits for a purge; workers go on with what is left. */
const PURGE_MS = 2000;

/** From this number on (the year 2001) it is a moment; as a duration it would be three decades. */
const LEAST_MOMENT_MS = 1e12;

function durationOf(untilMs: number | null): number | null {
  if (untilMs === null || untilMs < LEAST_MOMENT_MS) return untilMs;
  return Math.max(0, untilMs - Date.now());
}
