import { queueOfJobId } from '../../../src/shared/ids.ts';
import type { JobEnvelope } from '../envelope.ts';
import { DEFAULT_QUEUE } from '../prepare.ts';
import type { PreparedJob } from '../prepare.ts';
import type { JobRecord } from '../reader.ts';
import type { IndexEntry } from './index-entry.ts';
import { keyOf } from '../view.ts';

/**
 * By what jobs are searched, beside their states. Most tenants use the default queue for most of their jobs, so those have
 * no term for it: an id says its job's queue.
 */
export type Field = 'task' | 'queue' | 'key' | 'tag' | 'correlationId' | 'flowId';

/** What is noted of a job beside the job. */
export interface SearchedJob extends IndexEntry {
  task: string;
  key: string | null;
  tags: readonly string[];
  correlationId: string;
  flowId: string | null;
  /** Until when it may start, ms epoch. */
  expiresAt: number | null;
}

const LETTERS: Record<Field, string> = {
  task: 't',
  queue: 'q',
  key: 'k',
  tag: 'g',
  correlationId: 'c',
  flowId: 'f',
};
/** Digits of a time in ms: as text, times then sort like numbers. */
const TIME_DIGITS = 15;

/** What the members of all jobs with this value begin with, and no others: the length says where the value ends. */
export const termOf = (field: Field, value: string): string => `${LETTERS[field]}${value.length}:${value}:`;

/** Sorts after all members of a term: `:` comes after the digits. */
export const endOf = (term: string): string => `${term}:`;

/** Members of a term sort by creation, then by id, as the tenant's index does. */
export const memberOf = (term: string, { createdAt, id }: IndexEntry): string =>
  `${term}${String(createdAt).padStart(TIME_DIGITS, '0')}:${id}`;

export function entryOf(member: string, term: string): IndexEntry {
  const from = term.length + TIME_DIGITS;
  return { createdAt: Number(member.slice(term.length, from)), id: member.slice(from + 1) };
}

/** What a job is found by: a member for each term. */
export function membersOf(job: SearchedJob): string[] {
  const queue = queueOfJobId(job.id) ?? DEFAULT_QUEUE;
  const terms = [termOf('task', job.task), termOf('correlationId', job.correlationId)];
  if (queue !== DEFAULT_QUEUE) terms.push(termOf('queue', queue));
  if (job.key !== null) terms.push(termOf('key', job.key));
  if (job.flowId !== null) terms.push(termOf('flowId', job.flowId));
  terms.push(...job.tags.map((tag) => termOf('tag', tag)));
  return terms.map((term) => memberOf(term, job));
}

export function searchedOf({ id, task, envelope, options }: PreparedJob): SearchedJob {
  return searched(id, task, options.timestamp, options.group?.key ?? null, envelope);
}

export function searchedOfRecord({ id, json, envelope }: JobRecord): SearchedJob {
  return searched(id, json.name, json.timestamp, keyOf(json), envelope);
}

// Runs for every job that comes: putting two objects into one would cost more than all the rest.
function searched(
  id: string,
  task: string,
  createdAt: number,
  key: string | null,
  { tags, correlationId, flow, expiresAt }: JobEnvelope,
): SearchedJob {
  return { id, task, createdAt, key, tags, correlationId, expiresAt, flowId: flow?.id ?? null };
}
