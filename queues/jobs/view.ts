import type { JobJson } from 'bullmq';
import { queueOfJobId } from '../../src/shared/ids.ts';
import type { Job, JobState } from '../../src/shared/schemas.ts';
import type { FairJobsOptions } from '../fair/index.ts';
import type { JobEnvelope } from './envelope.ts';
import { CANCELLED, decodeFailure, EXPIRED } from './failure.ts';
import type { Failure } from './failure.ts';
import { fromBullPriority } from './prepare.ts';
import type { PreparedJob } from './prepare.ts';

/** A stored job, decoded. `state` is the contract's. */
export interface StoredJob {
  id: string;
  state: JobState;
  json: JobJson;
  envelope: JobEnvelope;
  /** When a delayed job is due (ms epoch); null for any other. */
  dueAt: number | null;
}

/** BullMQ's state in the contract's words; a failure that was no failure of the task has a state of its own. */
export function contractState(bullState: string, failedReason: string | undefined): JobState {
  switch (bullState) {
    case 'completed':
    case 'active':
    case 'delayed':
    case 'waiting-children':
      return bullState;
    case 'failed':
      return failedState(failedReason);
    default:
      return 'waiting';
  }
}

function failedState(failedReason: string | undefined): JobState {
  const { code } = decodeFailure(failedReason ?? '');
  return code === CANCELLED || code === EXPIRED ? code : 'failed';
}

export function isFinished(state: JobState): boolean {
  return state === 'completed' || state === 'failed' || state === 'cancelled' || state === 'expired';
}

/** The contract's job of a stored one. */
export function jobView(stored: StoredJob): Job {
  const { json, envelope, state, id } = stored;
  return {
    id,
    tenant: envelope.tenant,
    task: json.name,
    queue: queueOfJobId(id) ?? '',
    state,
    payload: envelope.payload ?? null,
    result: state === 'completed' ? parsed(json.returnvalue) : null,
    error: state === 'completed' ? null : failureOf(json),
    progress: json.progress === 0 ? null : json.progress,
    attempts: { made: json.attemptsMade, max: json.opts.attempts ?? 1 },
    priority: fromBullPriority(json.opts.priority ?? 0),
    key: keyOf(json),
    tags: envelope.tags,
    correlationId: envelope.correlationId,
    flow: envelope.flow === null ? null : { id: envelope.flow.id, parentId: envelope.flow.parentId },
    createdAt: iso(json.timestamp),
    runAt: iso(stored.dueAt ?? json.timestamp + (json.opts.delay ?? 0)),
    startedAt: isoOrNull(json.processedOn),
    finishedAt: isFinished(state) ? isoOrNull(json.finishedOn) : null,
  };
}

/** The contract's job of one that was just added: what a read would find, without the read. */
export function enqueuedView(job: PreparedJob): Job {
  const { envelope, options } = job;
  const delay = options.delay ?? 0;
  return {
    id: job.id,
    tenant: envelope.tenant,
    task: job.task,
    queue: job.queue,
    state: delay > 0 ? 'delayed' : 'waiting',
    payload: envelope.payload ?? null,
    result: null,
    error: null,
    progress: null,
    attempts: { made: 0, max: options.attempts },
    priority: fromBullPriority(options.priority ?? 0),
    key: options.group?.key ?? null,
    tags: envelope.tags,
    correlationId: envelope.correlationId,
    flow: null,
    createdAt: iso(options.timestamp),
    runAt: iso(options.timestamp + delay),
    startedAt: null,
    finishedAt: null,
  };
}

/** The serialisation key of a stored job. */
export function keyOf(json: JobJson): string | null {
  return (json.opts as FairJobsOptions).group?.key ?? null;
}

function failureOf(json: JobJson): Failure | null {
  return json.failedReason ? decodeFailure(json.failedReason) : null;
}

/** BullMQ stores no return value as an absent field and an undefined one as `null` or nothing. */
function parsed(returnvalue: string | undefined): unknown {
  if (returnvalue === undefined || returnvalue === '') return null;
  try {
    return JSON.parse(returnvalue) as unknown;
  } catch {
    return returnvalue;
  }
}

function iso(time: number): string {
  return new Date(time).toISOString();
}

function isoOrNull(time: number | undefined): string | null {
  return time === undefined ? null : iso(time);
}
