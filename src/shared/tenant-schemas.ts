import { z } from 'zod';
import { MAX_DELAY_MS, MAX_MOMENT_MS } from './limits.ts';
import { QueueName, Timestamp } from './schemas.ts';

/** The wire types of tenants: their settings and their keys. See schemas.ts for the rules of all wire types. */

export const Rate = z
  .strictObject({
    limit: z.int().min(1).max(1_000_000).meta({ description: 'Jobs that may start per period.' }),
    periodMs: z.int().min(1).max(MAX_DELAY_MS),
    burst: z.int().min(1).max(1_000_000).default(1).meta({
      description: 'Starts that may come at once after a quiet time; the others are spaced evenly.',
    }),
  })
  .meta({
    description: 'How fast jobs may start.',
    examples: [{ limit: 50, periodMs: 1000, burst: 10 }],
  });
export type Rate = z.output<typeof Rate>;

const Weight = z.number().min(0.01).max(1000);
export const MaxRunning = z
  .int()
  .min(0)
  .max(1_000_000)
  .nullable()
  .meta({ description: 'Jobs that may run at once; null = no limit.' });

const ChargeRunMs = z.int().min(1).max(MAX_DELAY_MS).nullable().meta({
  description:
    'Each so many milliseconds that a job has run count as one job more; null = run time does not count.',
});

export const QueueLimits = z
  .strictObject({
    weight: Weight.optional(),
    maxRunning: MaxRunning.optional(),
    rate: Rate.nullable().optional(),
    chargeRunMs: ChargeRunMs.optional(),
  })
  .meta({ description: "What holds in one queue, beside the tenant's own limits." });

/** As a field of that name is dropped from a record before anybody sees it. */
function refuseProto<T>(limits: T, context: z.RefinementCtx): T {
  if (typeof limits === 'object' && limits !== null && Object.hasOwn(limits, '__proto__'))
    context.addIssue({ code: 'custom', path: ['__proto__'], message: 'is not a queue name' });
  return limits;
}

const LimitsByQueue = z
  .record(QueueName, QueueLimits)
  .refine((queues) => Object.keys(queues).length <= 100, 'has more than 100 queues');

const tenantFields = {
  weight: Weight.default(1).meta({ description: 'Share relative to the other tenants.' }),
  maxRunning: MaxRunning.default(null),
  rate: Rate.nullable().default(null),
  chargeRunMs: ChargeRunMs.default(null),
  maxWaiting: z.int().min(0).max(100_000_000).nullable().default(null).meta({
    description: 'Jobs that may wait or be delayed over all queues; more are refused. null = no limit.',
  }),
  paused: z.boolean().default(false).meta({ description: 'Whether none of its jobs may start.' }),
  queues: z
    .preprocess(refuseProto<z.input<typeof LimitsByQueue>>, LimitsByQueue)
    .default({})
    .meta({ description: 'Limits of single queues.' }),
};

export const TenantSettings = z.strictObject(tenantFields).meta({
  id: 'TenantSettings',
  examples: [{ weight: 3, maxRunning: 20, rate: { limit: 50, periodMs: 1000, burst: 10 } }],
});
export type TenantSettings = z.output<typeof TenantSettings>;
export type TenantSettingsInput = z.input<typeof TenantSettings>;

export const PauseRequest = z
  .strictObject({
    untilMs: z.int().min(0).max(MAX_MOMENT_MS).nullable().default(null).meta({
      description:
        'How long, in milliseconds; a number of 13 digits is a moment since 1970. null = until resumed.',
    }),
  })
  .meta({ id: 'PauseRequest', examples: [{ untilMs: 60000 }] });

export const Tenant = z
  .strictObject({
    id: z.string(),
    weight: z.number(),
    maxRunning: z.int().nullable(),
    rate: Rate.nullable(),
    chargeRunMs: z.int().nullable(),
    maxWaiting: z.int().nullable(),
    paused: z
      .boolean()
      .meta({ description: 'Whether it is paused now, by its settings, by hand or by a handler.' }),
    pausedUntil: z.iso.datetime().nullable().meta({ description: 'When the pause ends by itself.' }),
    queues: z.record(z.string(), QueueLimits),
    configured: z.boolean().meta({ description: 'False while the defaults of tenant `*` apply.' }),
    createdAt: z.iso.datetime().nullable(),
    updatedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'Tenant' });
export type Tenant = z.output<typeof Tenant>;

export const scopes = [
  'jobs:read',
  'jobs:write',
  'schedules:write',
  'webhooks:write',
  'events:write',
  'work',
] as const;
export const Scope = z.enum(scopes).meta({ id: 'Scope' });
export type Scope = z.output<typeof Scope>;

export const ApiKeyRequest = z
  .strictObject({
    scopes: z.array(Scope).min(1).default(['jobs:read', 'jobs:write']),
    expiresAt: Timestamp.nullable()
      .default(null)
      .refine((at) => at === null || Date.parse(at) > Date.now(), 'must be in the future'),
  })
  .meta({ id: 'ApiKeyRequest', examples: [{ scopes: ['jobs:read', 'jobs:write'], expiresAt: null }] });
export type ApiKeyRequest = z.output<typeof ApiKeyRequest>;

export const ApiKey = z
  .strictObject({
    id: z.string(),
    secret: z.string().meta({ description: 'Shown this once; only its hash is stored.' }),
    scopes: z.array(Scope),
    expiresAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'ApiKey' });
export type ApiKey = z.output<typeof ApiKey>;

const Count = z.int().min(0);
const Milliseconds = z.int().min(0).nullable();
const Share = z.number().min(0).max(1).nullable();

const QueueUsage = z
  .strictObject({
    waiting: Count.meta({ description: 'Due and not started, whatever holds them.' }),
    delayed: Count.meta({ description: 'Not due yet, or between two attempts.' }),
    active: Count,
  })
  .meta({ id: 'QueueUsage' });

const UsageWindow = z
  .strictObject({
    windowMs: z.int().meta({ examples: [60_000, 300_000, 3_600_000] }),
    since: z.iso.datetime().meta({
      description: 'What is counted from: whole minutes, and in addition the one that runs.',
    }),
    started: Count.meta({ description: 'Starts, those of further attempts included.' }),
    finished: z.strictObject({ completed: Count, failed: Count }),
    share: z
      .strictObject({
        received: Share.meta({
          description:
            'Part of all that was started, and of the run time that is charged, which was its own.',
        }),
        entitled: Share.meta({
          description: 'Its weight among those that started something or were charged, minute by minute.',
        }),
      })
      .meta({ description: 'null when nothing was started by anybody, or charged.' }),
    waitMs: z.strictObject({ p50: Milliseconds, p95: Milliseconds, p99: Milliseconds }).meta({
      description: 'From when a job was due to its first start, to within a tenth; null without any.',
    }),
  })
  .meta({ id: 'UsageWindow' });
export type UsageWindow = z.output<typeof UsageWindow>;

export const Usage = z
  .strictObject({
    tenant: z.string(),
    limits: Tenant.omit({ id: true, createdAt: true, updatedAt: true }).meta({
      id: 'TenantLimits',
      description: 'What holds for it now.',
    }),
    queues: z.record(z.string(), QueueUsage).meta({ description: 'Where it has anything, by name.' }),
    blockedBy: z
      .strictObject({
        tenant_paused: Count,
        tenant_concurrency: Count,
        tenant_rate: Count,
        key: Count,
        queue_paused: Count,
        queue_concurrency: Count,
        delayed: Count,
      })
      .meta({
        description:
          'Its waiting and delayed jobs by what holds them; one that several things hold is in each.',
      }),
    windows: z.array(UsageWindow).meta({ description: 'The last minute, five minutes and hour.' }),
  })
  .meta({ id: 'Usage', description: 'What a tenant may use, has waiting and has got.' });
export type Usage = z.output<typeof Usage>;
