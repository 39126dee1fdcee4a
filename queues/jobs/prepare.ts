import { createHash } from 'node:crypto';
import type { Dedupe } from '../../src/shared/dedupe-schemas.ts';
import { WaggleError } from '../../src/shared/errors.ts';
import { newJobId } from '../../src/shared/ids.ts';
import { DEFAULT_RETAIN_MS } from '../../src/shared/limits.ts';
import type { JobRequest } from '../../src/shared/schemas.ts';
import { parse } from '../../src/shared/validate.ts';
import type { FairJobsOptions, GroupOptions } from '../fair/index.ts';
import type { Task, TaskDefaults } from '../tasks/define-task.ts';
import type { TaskRegistry } from '../tasks/registry.ts';
import type { FlowMembership, JobEnvelope } from './envelope.ts';

export const DEFAULT_QUEUE = 'default';

/** A job ready to be added to its BullMQ queue. */
export interface PreparedJob {
  id: string;
  queue: string;
  task: string;
  envelope: JobEnvelope;
  options: FairJobsOptions & { jobId: string; timestamp: number; attempts: number };
  dedupe?: PreparedDedupe;
}

/** What the adding of a job with `dedupe` needs to know. */
export interface PreparedDedupe {
  mode: Dedupe['mode'];
  /** Of the id. */
  hash: string;
  /** What a job that stands for this one gets of it: the envelope, or the payload to be collected. */
  change: string;
  /** How long the job stands, or may be changed; 0 = as its mode says. */
  windowMs: number;
  payloadBytes: number;
}

/** A retry's pause as it lies in `opts.backoff`; the worker's backoff strategy computes it from `options`. */
export interface WaggleBackoff {
  type: 'waggle';
  delay: number;
  options: TaskDefaults['backoff'];
}

export interface PrepareContext {
  tenant: string;
  correlationId: string;
  traceparent?: string | undefined;
  /** ms epoch */
  createdAt: number;
  tasks: TaskRegistry;
  payloadBytes: number;
  /** Where the request stands in a larger input, for the paths of errors. */
  path?: string;
  /** Of a node: its place in the flow, and the id made for it beforehand. */
  node?: { id: string; flow: FlowMembership };
}

/**
 * What a request becomes in Redis.
 * @throws WaggleError unknown_task, invalid_payload, payload_too_large
 */
export function prepareJob(request: JobRequest, context: PrepareContext): PreparedJob {
  const task = knownTask(request, context);
  const payload = payloadOf(request);
  checkPayload(task, payload, context);
  const queue = request.queue ?? DEFAULT_QUEUE;
  const id = context.node?.id ?? newJobId(queue);
  const job: PreparedJob = {
    id,
    queue,
    task: task.name,
    envelope: envelopeOf(payload, request, task, context),
    options: { ...optionsOf(request, task, context), jobId: id },
  };
  return request.dedupe === undefined ? job : deduplicated(job, request.payload, request.dedupe, context);
}

/** Of a job that collects payloads: the first of them. */
function payloadOf({ payload, dedupe }: JobRequest): unknown {
  return dedupe?.mode === 'accumulate' ? { payloads: [payload ?? null] } : payload;
}

function deduplicated(
  job: PreparedJob,
  payload: unknown,
  { id, mode, ttlMs = 0 }: Dedupe,
  { tenant, payloadBytes }: PrepareContext,
): PreparedJob {
  const hash = createHash('sha256').update(id).digest('base64url');
  return {
    ...job,
    options: { ...job.options, deduplication: { id: `${tenant}:${hash}` } },
    dedupe: {
      mode,
      hash,
      change: JSON.stringify(mode === 'accumulate' ? (payload ?? null) : job.envelope),
      windowMs: mode === 'first' || mode === 'last' ? ttlMs : 0,
      payloadBytes,
    },
  };
}

function knownTask(request: JobRequest, context: PrepareContext): Task {
  const task = context.tasks.get(request.task);
  if (task) return task;
  throw new WaggleError('unknown_task', `There is no task named ${request.task}.`, {
    errors: [{ path: at(context, 'task'), message: 'is not a known task' }],
  });
}

/** @throws WaggleError invalid_payload, payload_too_large */
export function checkPayload(
  task: Task,
  payload: unknown,
  context: Pick<PrepareContext, 'payloadBytes' | 'path'>,
): void {
  const path = at(context, 'payload');
  parse(task.payload, payload, { code: 'invalid_payload', root: path });
  if (payload === undefined) return;
  const bytes = Buffer.byteLength(JSON.stringify(payload));
  if (bytes <= context.payloadBytes) return;
  throw new WaggleError(
    'payload_too_large',
    `The payload has ${bytes} bytes; at most ${context.payloadBytes} are taken.`,
    {
      errors: [{ path, message: `has more than ${context.payloadBytes} bytes` }],
    },
  );
}

function envelopeOf(payload: unknown, request: JobRequest, task: Task, context: PrepareContext): JobEnvelope {
  const rest = {
    tenant: context.tenant,
    correlationId: request.correlationId ?? context.correlationId,
    ...(context.traceparent === undefined ? {} : { traceparent: context.traceparent }),
    tags: request.tags ?? [],
    timeoutMs: request.timeoutMs ?? task.defaults.timeoutMs,
    expiresAt: request.ttlMs === undefined ? null : context.createdAt + request.ttlMs,
    retainMs: {
      completed: request.retainMs?.completed ?? DEFAULT_RETAIN_MS.completed,
      failed: request.retainMs?.failed ?? DEFAULT_RETAIN_MS.failed,
    },
    flow: context.node?.flow ?? null,
  };
  // Others are put in right before the end: see deduplicate.lua.
  return request.dedupe?.mode === 'accumulate' ? { collects: true, ...rest, payload } : { payload, ...rest };
}

function optionsOf(
  request: JobRequest,
  task: Task,
  context: PrepareContext,
): Omit<PreparedJob['options'], 'jobId'> {
  const backoff = request.backoff ?? task.defaults.backoff;
  const delay = delayOf(request, context.createdAt);
  const priority = toBullPriority(request.priority ?? 0);
  return {
    timestamp: context.createdAt,
    attempts: request.attempts ?? task.defaults.attempts,
    backoff: { type: 'waggle', delay: backoff.delayMs, options: backoff } as WaggleBackoff,
    group: groupOf(request, context),
    removeOnComplete: false,
    removeOnFail: false,
    ...(delay > 0 ? { delay } : {}),
    ...(priority > 0 ? { priority } : {}),
  };
}

function groupOf(request: JobRequest, { tenant }: PrepareContext): GroupOptions {
  const { cost } = request;
  return {
    id: tenant,
    ...keyOptionsOf(request),
    ...(cost === undefined ? {} : { cost }),
  };
}

/** Without a key the others mean nothing. */
function keyOptionsOf({ key, keyLimit, keyStrategy }: JobRequest): Partial<GroupOptions> {
  if (key === undefined) return {};
  return {
    key,
    ...(keyLimit === undefined ? {} : { keyLimit }),
    ...(keyStrategy === undefined ? {} : { keyStrategy }),
  };
}

function delayOf({ runAt, delayMs = 0, dedupe }: JobRequest, createdAt: number): number {
  const given = runAt === undefined ? delayMs : Math.max(0, Date.parse(runAt) - createdAt);
  const waits = dedupe?.mode === 'debounce' || dedupe?.mode === 'accumulate';
  return Math.max(given, waits ? (dedupe?.ttlMs ?? 0) : 0);
}

/** The API counts up to 9, the most urgent; BullMQ counts down to 1, and 0 there means none. */
export function toBullPriority(priority: number): number {
  return priority === 0 ? 0 : 10 - priority;
}

export function fromBullPriority(priority: number): number {
  return priority === 0 ? 0 : 10 - priority;
}

function at(context: Pick<PrepareContext, 'path'>, field: string): string {
  return context.path ? `${context.path}.${field}` : field;
}
