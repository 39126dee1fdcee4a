import type { AuditPage } from '../../../shared/audit-schemas.ts';
import type { ApiKeyInfo } from '../../../shared/key-schemas.ts';
import type { Limited } from '../../../shared/overall-schemas.ts';
import type { PurgeStatus } from '../../../shared/purge-schemas.ts';
import type { ApiKey, Tenant, Usage, UsageWindow } from '../../../shared/tenant-schemas.ts';

/** What the document shows of tenants, of what they may use, and of who changed it. */

const CREATED_AT = '2026-11-27T11:58:00.000Z';

export const tenant: Tenant = {
  id: 'acme',
  weight: 3,
  maxRunning: 20,
  rate: { limit: 50, periodMs: 1000, burst: 10 },
  chargeRunMs: null,
  maxWaiting: null,
  paused: false,
  pausedUntil: null,
  queues: { mail: { maxRunning: 2 } },
  configured: true,
  createdAt: CREATED_AT,
  updatedAt: CREATED_AT,
};

export const apiKey: ApiKey = {
  id: '3fK9vQ2mZ7xN',
  secret: 'wgk_3fK9vQ2mZ7xN_shown-this-once',
  scopes: ['jobs:read', 'jobs:write'],
  expiresAt: null,
};

export const apiKeyInfo: ApiKeyInfo = {
  id: apiKey.id,
  scopes: apiKey.scopes,
  createdAt: CREATED_AT,
  expiresAt: null,
  lastUsedAt: '2026-11-27T12:00:00.000Z',
  revoked: false,
};

export const purgeStatus: PurgeStatus = { tenant: 'acme', removed: 20_000, remaining: 31_415 };

export const limited: Limited = {
  name: 'mail',
  maxRunning: 10,
  rate: null,
  configured: true,
  createdAt: CREATED_AT,
  updatedAt: CREATED_AT,
};

const usageWindow: UsageWindow = {
  windowMs: 60_000,
  since: '2026-11-27T11:59:00.000Z',
  started: 120,
  finished: { completed: 118, failed: 1 },
  share: { received: 0.61, entitled: 0.6 },
  waitMs: { p50: 40, p95: 310, p99: 520 },
};

const { id: _id, createdAt: _createdAt, updatedAt: _updatedAt, ...limits } = tenant;

export const usage: Usage = {
  tenant: 'acme',
  limits,
  queues: { default: { waiting: 41, delayed: 2, active: 20 } },
  blockedBy: {
    tenant_paused: 0,
    tenant_concurrency: 41,
    tenant_rate: 0,
    key: 0,
    queue_paused: 0,
    queue_concurrency: 0,
    delayed: 2,
  },
  windows: [usageWindow],
};

export const auditPage: AuditPage = {
  entries: [
    {
      id: '1780000000000-0',
      at: CREATED_AT,
      actor: 'admin',
      action: 'putTenant',
      target: '/v1/tenants/acme',
      tenant: 'acme',
      requestId: '01JZ3QK0M3E5G7J9L1N3Q5S7V9',
      status: 200,
      detail: { weight: 3 },
    },
  ],
  nextCursor: null,
};
