import { z } from 'zod';
import { Dedupe } from './dedupe-schemas.ts';
import { CORRELATION_ID, NODE_NAME, QUEUE_NAME, RESERVED_QUEUES, TASK_NAME, TENANT_ID } from './ids.ts';
import { MAX_DELAY_MS, MAX_RETAIN_MS, MAX_TIMEOUT_MS } from './limits.ts';

/**
 * The wire types of the HTTP contract. Validation, TypeScript types and the OpenAPI document come from these alone.
 * Objects are strict: a field nobody knows is an error, never ignored.
 */

export const jobStates = [
  'waiting',
  'delayed',
  'active',
  'waiting-children',
  'completed',
  'failed',
  'cancelled',
  'expired',
] as const;

export const JobState = z
  .enum(jobStates)
  .meta({ id: 'JobState', description: 'Where a job is in its life.' });
export type JobState = z.output<typeof JobState>;

export const TenantId = z
  .string()
  .regex(TENANT_ID, 'must match [a-z0-9][a-z0-9_-]{0,62}')
  .meta({ description: 'Tenant id.', examples: ['acme'] });
export const TaskName = z
  .string()
  .regex(TASK_NAME, 'must match [a-z][a-z0-9._-]{0,127}')
  .meta({ description: 'Name of a task.', examples: ['echo'] });
export const QueueName = z
  .string()
  .regex(QUEUE_NAME, 'must match [a-z][a-z0-9._-]{0,62}')
  .refine((name) => !RESERVED_QUEUES.has(name), 'is a reserved name')
  .meta({ description: 'Pool of work that workers subscribe to.', examples: ['default'] });
export const CorrelationId = z
  .string()
  .regex(CORRELATION_ID, 'must be 1 to 128 visible ASCII characters')
  .meta({ description: 'Follows the job, its events and its log lines.', examples: ['req-7f3a'] });

const Tag = z.string().min(1).max(64);
const TagList = z
  .array(Tag)
  .max(20)
  .meta({ examples: [['import', 'nightly']] });
export const Timestamp = z.iso.datetime({ offset: true, error: 'must be an ISO 8601 time with a time zone' });

export const Backoff = z
  .strictObject({
    type: z.enum(['fixed', 'exponential']).meta({ description: 'How the pause grows with each attempt.' }),
    delayMs: z.int().min(0).max(MAX_DELAY_MS).default(1000),
    maxDelayMs: z.int().min(0).max(MAX_DELAY_MS).default(60_000),
    jitter: z
      .number()
      .min(0)
      .max(1)
      .default(0.5)
      .meta({ description: 'Share of the pause that is random: 0.5 = between half and all of it.' }),
  })
  .meta({
    id: 'Backoff',
    description: 'The pause before another attempt.',
    examples: [{ type: 'exponential', delayMs: 1000, maxDelayMs: 60000, jitter: 0.5 }],
  });
export type Backoff = z.output<typeof Backoff>;

export const RetainMs = z
  .strictObject({
    completed: z.int().min(0).max(MAX_RETAIN_MS).optional(),
    failed: z.int().min(0).max(MAX_RETAIN_MS).optional(),
  })
  .meta({
    id: 'RetainMs',
    description: 'How long a finished job is kept, in milliseconds after it finished.',
  });

const Key = z
  .string()
  .min(1)
  .max(256)
  .meta({ examples: ['session-42'] });

export const keyStrategies = ['queue', 'cancel-running', 'reject', 'replace-waiting'] as const;

const jobFields = {
  task: TaskName,
  payload: z.unknown().optional().meta({ description: 'Any JSON; the task has its own schema for it.' }),
  queue: QueueName.optional().meta({ description: 'Default: `default`.' }),
  key: Key.optional().meta({
    description: 'Jobs of the same key in a queue run one after the other, in order of arrival.',
  }),
  keyLimit: z
    .int()
    .min(1)
    .max(1000)
    .optional()
    .meta({ description: 'Jobs of the key at a time; default 1.' }),
  keyStrategy: z
    .enum(keyStrategies)
    .optional()
    .meta({
      description:
        'What the job does when its key is taken: `queue` (the default) waits, `reject` is refused with 409, ' +
        '`replace-waiting` takes the place of those that wait, `cancel-running` also has those stopped that run.',
    }),
  priority: z
    .int()
    .min(0)
    .max(9)
    .optional()
    .meta({ description: '9 is most urgent; inside the tenant only.' }),
  cost: z.number().min(0.01).max(1000).optional().meta({
    description: 'How many jobs this one counts for when shares are weighed; default 1.',
  }),
  delayMs: z
    .int()
    .min(0)
    .max(MAX_DELAY_MS)
    .optional()
    .meta({ description: 'Not before so long from now; 0, the default, says nothing beside `runAt`.' }),
  runAt: Timestamp.optional().meta({ description: 'Not before this time; one in the past means now.' }),
  attempts: z.int().min(1).max(100).optional(),
  backoff: Backoff.optional(),
  timeoutMs: z.int().min(1).max(MAX_TIMEOUT_MS).optional().meta({ description: 'Per attempt.' }),
  ttlMs: z.int().min(1).max(MAX_DELAY_MS).optional().meta({
    description: 'A job that has not started this long after it was accepted expires.',
  }),
  tags: TagList.optional(),
  correlationId: CorrelationId.optional(),
  retainMs: RetainMs.optional(),
};

/** A start is said once: as a pause or as a time. No pause is what `delayMs` is by default. */
function oneStart(
  request: { delayMs?: number | undefined; runAt?: string | undefined },
  ctx: z.RefinementCtx,
): void {
  if (request.runAt === undefined) return;
  if (request.delayMs !== undefined && request.delayMs > 0) {
    ctx.addIssue({ code: 'custom', path: ['runAt'], message: 'give delayMs or runAt, not both' });
  } else if (Date.parse(request.runAt) - Date.now() > MAX_DELAY_MS) {
    ctx.addIssue({ code: 'custom', path: ['runAt'], message: 'is too far in the future' });
  }
}

/** What is said about a key needs one, but for what holds anyway. */
function keyGiven(
  request: { key?: string | undefined; keyLimit?: number | undefined; keyStrategy?: string | undefined },
  ctx: z.RefinementCtx,
): void {
  if (request.key !== undefined) return;
  const { keyLimit = 1, keyStrategy = 'queue' } = request;
  if (keyLimit !== 1) ctx.addIssue({ code: 'custom', path: ['keyLimit'], message: 'needs a key' });
  if (keyStrategy !== 'queue')
    ctx.addIssue({ code: 'custom', path: ['keyStrategy'], message: 'needs a key' });
}

/** A flow is accepted whole or not at all, and a part of it can be refused only after the others are in. */
function notRejecting(request: { keyStrategy?: string | undefined }, ctx: z.RefinementCtx): void {
  if (request.keyStrategy !== 'reject') return;
  ctx.addIssue({ code: 'custom', path: ['keyStrategy'], message: 'cannot be reject in a flow' });
}

export const JobRequest = z
  .strictObject({ ...jobFields, dedupe: Dedupe.optional() })
  .superRefine(oneStart)
  .superRefine(keyGiven)
  .meta({
    id: 'JobRequest',
    description: 'A job to enqueue. Only `task` is required.',
    examples: [{ task: 'echo', payload: { any: 'json' }, priority: 3, tags: ['a'] }],
  });
export type JobRequest = z.output<typeof JobRequest>;

export const JobError = z
  .strictObject({
    code: z
      .string()
      .meta({ examples: ['task_failed', 'timeout', 'stalled', 'child_failed', 'cancelled', 'expired'] }),
    message: z.string(),
    retryable: z.boolean(),
  })
  .meta({ id: 'JobError', description: 'Why the last attempt failed.' });
export type JobError = z.output<typeof JobError>;

export const Job = z
  .strictObject({
    id: z.string().meta({ examples: ['default.01JZ3QK0M4Y8W6T2N5R7S9V1XC'] }),
    tenant: TenantId,
    task: TaskName,
    queue: QueueName,
    state: JobState,
    payload: z.unknown(),
    result: z.unknown().meta({ description: 'What the task returned; null until it completed.' }),
    error: JobError.nullable(),
    progress: z.unknown().meta({ description: 'What the task last reported; null before.' }),
    attempts: z.strictObject({ made: z.int(), max: z.int() }),
    priority: z.int(),
    key: z.string().nullable(),
    tags: z.array(z.string()),
    correlationId: z.string(),
    flow: z.strictObject({ id: z.string(), parentId: z.string().nullable() }).nullable(),
    createdAt: z.iso.datetime(),
    runAt: z.iso.datetime().meta({ description: 'When it was or will be due.' }),
    startedAt: z.iso.datetime().nullable(),
    finishedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'Job', description: 'One enqueued run of a task.' });
export type Job = z.output<typeof Job>;

export const gates = [
  'tenant_paused',
  'tenant_concurrency',
  'tenant_rate',
  'key',
  'queue_paused',
  'queue_concurrency',
  'delayed',
  'children',
  'no_worker',
  'fair_turn',
] as const;
export type Gate = (typeof gates)[number];

export const Why = z
  .strictObject({
    state: JobState,
    runnable: z
      .boolean()
      .meta({ description: 'Whether nothing but its turn stands between the job and a worker.' }),
    blockedBy: z.array(
      z.strictObject({
        gate: z.enum(gates),
        detail: z.string(),
        until: z.iso
          .datetime()
          .nullable()
          .meta({ description: 'When this gate opens by itself, if it does.' }),
      }),
    ),
    position: z.strictObject({
      inTenant: z
        .int()
        .nullable()
        .meta({ description: 'Jobs of the tenant in this queue that run before it.' }),
      tenantsAhead: z.int().nullable().meta({
        description: "Tenants served before its own; null while its tenant's next job may not run.",
      }),
    }),
    estimatedStartAt: z.iso.datetime().nullable().meta({
      description: 'Not before this time; null where it does not depend on time alone.',
    }),
  })
  .meta({ id: 'Why', description: 'What keeps a job from running.' });
export type Why = z.output<typeof Why>;

export const FieldErrorSchema = z.strictObject({ path: z.string(), message: z.string() });

export const Problem = z
  .strictObject({
    type: z.string().meta({ examples: ['/problems/validation'] }),
    title: z.string(),
    status: z.int(),
    code: z.string().meta({ examples: ['validation'] }),
    detail: z.string(),
    instance: z.string().optional().meta({ description: 'The id of the request.' }),
    errors: z.array(FieldErrorSchema).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details.' });
export type Problem = z.output<typeof Problem>;

/** The documented shape of a batch. A server parses with {@link BatchItems}, so that one bad job spoils no other. */
export const BatchRequest = z
  .strictObject({ jobs: z.array(JobRequest).min(1) })
  .meta({ id: 'BatchRequest', description: 'Jobs to enqueue; each gets its own outcome.' });
export type BatchRequest = z.output<typeof BatchRequest>;

/** A batch whose jobs have not been looked at yet. */
export const BatchItems = z.strictObject({ jobs: z.array(z.unknown()).min(1) });

export const BatchResult = z
  .union([
    z.strictObject({ index: z.int(), id: z.string() }),
    z.strictObject({ index: z.int(), problem: Problem }),
  ])
  .meta({ id: 'BatchResult' });
export const BatchResponse = z
  .strictObject({ results: z.array(BatchResult) })
  .meta({ id: 'BatchResponse', description: 'One outcome per job, in the order of the request.' });
export type BatchResponse = z.output<typeof BatchResponse>;

export const OnChildFailure = z.enum(['fail', 'continue', 'ignore']).meta({
  id: 'OnChildFailure',
  description:
    'What a child that failed for good does to this node: `fail` fails it too, `continue` lets it run and see the ' +
    'failure, `ignore` lets it run without it.',
});
export type OnChildFailure = z.output<typeof OnChildFailure>;

export const NodeName = z.string().regex(NODE_NAME, 'must match [A-Za-z][A-Za-z0-9._-]{0,127}');

/** A job and, under `children`, those that must end before it runs. */
export type FlowTree = z.output<typeof JobRequest> & {
  name?: string | undefined;
  onChildFailure?: OnChildFailure | undefined;
  children?: FlowTree[] | undefined;
};

/** The same as a caller writes it: what has a default may be left out. */
export type FlowTreeInput = Omit<z.input<typeof JobRequest>, 'dedupe'> & {
  name?: string | undefined;
  onChildFailure?: OnChildFailure | undefined;
  children?: FlowTreeInput[] | undefined;
};

export const FlowTree: z.ZodType<FlowTree, FlowTreeInput> = z
  .strictObject({
    ...jobFields,
    name: NodeName.optional().meta({
      description: 'Default: the task, with a number where several share it.',
    }),
    onChildFailure: OnChildFailure.optional(),
    get children() {
      return z.array(FlowTree).optional();
    },
  })
  .superRefine(oneStart)
  .superRefine(keyGiven)
  .superRefine(notRejecting)
  .meta({ id: 'FlowTree', description: 'A job and those that must end before it runs.' });

export const FlowRequest = z.strictObject({ tree: FlowTree }).meta({
  id: 'FlowRequest',
  examples: [
    {
      tree: {
        task: 'echo',
        children: [
          { task: 'echo', payload: 1 },
          { task: 'sleep', payload: { ms: 50 } },
        ],
      },
    },
  ],
});
export type FlowRequest = z.output<typeof FlowRequest>;

export const FlowReceipt = z
  .strictObject({ id: z.string(), jobs: z.record(z.string(), z.string()) })
  .meta({ id: 'FlowReceipt', description: 'The id of the flow and the job id of each node, by name.' });
export type FlowReceipt = z.output<typeof FlowReceipt>;

export const flowStates = ['running', 'completed', 'failed', 'cancelled'] as const;
export type FlowState = (typeof flowStates)[number];

export const FlowNode = z
  .strictObject({
    name: z.string(),
    id: z.string(),
    task: TaskName,
    state: JobState,
    parents: z.array(z.string()).meta({ description: 'Names of the nodes that wait for this one.' }),
    children: z.array(z.string()).meta({ description: 'Names of the nodes this one waits for.' }),
  })
  .meta({ id: 'FlowNode' });
export type FlowNode = z.output<typeof FlowNode>;

export const Flow = z
  .strictObject({
    id: z.string(),
    state: z.enum(flowStates),
    nodes: z.array(FlowNode),
    result: z.unknown().meta({ description: 'What the root returned; null until the flow completed.' }),
  })
  .meta({ id: 'Flow' });
export type Flow = z.output<typeof Flow>;

/** How much of a list a page holds at most, as a query says it. */
export function pageLimit(most: number, fallback: number): z.ZodType<number> {
  return z.coerce.number(`must be a whole number from 1 to ${most}`).int().min(1).max(most).default(fallback);
}

export const JobListQuery = z
  .strictObject({
    state: JobState.optional(),
    task: TaskName.optional(),
    queue: QueueName.optional(),
    key: Key.optional(),
    tag: Tag.optional(),
    correlationId: CorrelationId.optional(),
    flowId: z.string().min(1).max(128).optional(),
    limit: pageLimit(200, 50),
    cursor: z.string().min(1).max(512).optional(),
  })
  .meta({ id: 'JobListQuery', description: 'Filters are ANDed; newest first.' });
export type JobListQuery = z.output<typeof JobListQuery>;

export const JobPage = z.strictObject({ jobs: z.array(Job), nextCursor: z.string().nullable() }).meta({
  id: 'JobPage',
  description: 'A page may hold fewer jobs than asked for and still have a next one.',
});
export type JobPage = z.output<typeof JobPage>;
