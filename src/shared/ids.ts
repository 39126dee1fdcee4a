import { randomBytes } from 'node:crypto';
import { monotonicFactory } from 'ulid';

export const TENANT_ID = /^[a-z0-9][a-z0-9_-]{0,62}$/;
export const TASK_NAME = /^[a-z][a-z0-9._-]{0,127}$/;
export const QUEUE_NAME = /^[a-z][a-z0-9._-]{0,62}$/;
/** A node of a flow: shown as a key of `ctx.parents`. */
export const NODE_NAME = /^[A-Za-z][A-Za-z0-9._-]{0,127}$/;
/** What travels in `X-Correlation-Id`: visible ASCII, so that it can stand in a header and a log line as it is. */
export const CORRELATION_ID = /^[\x21-\x7e]{1,128}$/;

/** The tenant whose settings are the defaults of every tenant nobody configured. */
export const DEFAULT_TENANT = '*';

/** A queue of this name would share Redis keys with a shard's own records (`{wg:<n>}:tenant:<id>` and so on). */
export const RESERVED_QUEUES: ReadonlySet<string> = new Set(['tenant', 'retire', 'slots', 'flow', 'key']);

const ULID = /^[0-9A-HJKMNP-TV-Z]{26}$/;
const ULID_LENGTH = 26;

let nextUlid: (() => string) | undefined;

const POOL_BYTES = 4096;

/**
 * Random numbers in [0, 1) with 8 bits each (a digit of an id takes 5), drawn many at a time: one call to the
 * system's generator costs more than the rest of an id.
 */
function pooledRandom(): () => number {
  let pool = Buffer.alloc(0);
  let next = 0;
  return () => {
    if (next === pool.length) {
      pool = randomBytes(POOL_BYTES);
      next = 0;
    }
    return (pool[next++] ?? 0) / 256;
  };
}

/** A 26-character id; ids made by one process grow, also within a millisecond. */
export function newUlid(): string {
  nextUlid ??= monotonicFactory(pooledRandom());
  return nextUlid();
}

/** An id for a job of `queue`: `<queue>.<ulid>`, so that an id alone says where the job lives inside its shard. */
export function newJobId(queue: string): string {
  return `${queue}.${newUlid()}`;
}

/** The queue a job id names, or null when it is no job id of ours. */
export function queueOfJobId(id: string): string | null {
  const dot = id.length - ULID_LENGTH - 1;
  if (dot < 1 || id[dot] !== '.' || !ULID.test(id.slice(dot + 1))) return null;
  const queue = id.slice(0, dot);
  return isQueueName(queue) ? queue : null;
}

export function isTenantId(value: string): boolean {
  return TENANT_ID.test(value);
}

export function isQueueName(value: string): boolean {
  return QUEUE_NAME.test(value) && !RESERVED_QUEUES.has(value);
}

export function isTaskName(value: string): boolean {
  return TASK_NAME.test(value);
}

/** `bytes` random bytes as base64url. */
export function randomToken(bytes: number): string {
  return randomBytes(bytes).toString('base64url');
}
