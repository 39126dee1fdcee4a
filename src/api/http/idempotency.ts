import { createHash } from 'node:crypto';
import { SentBeforeError } from '../../../queues/once/types.ts';
import type { Once, OnceRecord, Repeats, StoredAnswer } from '../../../queues/once/types.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import { invalid } from '../../shared/validate.ts';
import type { HeaderDoc, RouteCall } from '../route.ts';
import type { Reply } from './reply.ts';

const HEADER = 'Idempotency-Key';
const KEY = /^[\x21-\x7e]{1,255}$/;
/** Far more than an answer takes once its jobs are stored. */
const LEASE_MS = 10_000;

export const idempotencyHeader: HeaderDoc = {
  name: HEADER,
  description:
    'One to 255 visible ASCII characters. A repeat with the same key and body within 24 hours gets the first answer again.',
};

export const replayedHeader = {
  'Idempotency-Replayed': '`true` when this is the answer to an earlier request.',
};

export const repeatProblems: ErrorCode[] = ['idempotency_key_reused', 'idempotency_in_progress'];

export interface OnceOptions {
  /** How long the answer may be held back, beyond what it takes. */
  waitMs?: number | undefined;
  /** See {@link Once.answerOf}. */
  answerOf?: ((body: unknown) => StoredAnswer) | undefined;
}

/**
 * Answers a request: by `run` when it is new or has no idempotency key, else with what was answered before. Answers before
 * anything is stored (errors, most of all) are not kept.
 * @param run is given what to pass on to the engine; undefined without a key
 * @throws WaggleError validation, idempotency_key_reused, idempotency_in_progress
 */
export async function answerOnce(
  repeats: Repeats,
  call: Pick<RouteCall<unknown, unknown>, 'req' | 'tenant' | 'body'>,
  options: OnceOptions,
  run: (once: Once | undefined) => Promise<Reply>,
): Promise<Reply> {
  const key = idempotencyKey(call.req.get(HEADER));
  if (key === undefined) return run(undefined);
  const { waitMs = 0, answerOf } = options;
  const { method, path } = call.req;
  const once: Once = {
    key: hash(key),
    fingerprint: hash(`${method} ${path} ${canonical(call.body)}`),
    leaseMs: LEASE_MS + waitMs,
    answerOf,
  };
  const known = await repeats.find(call.tenant, once);
  if (known) return replay(repeats, call.tenant, once, known, run);
  try {
    const reply = await run(once);
    return once.isStored && !once.isAnswered ? await keep(repeats, call.tenant, once, reply) : reply;
  } catch (error) {
    if (error instanceof SentBeforeError) return replay(repeats, call.tenant, once, error.record, run);
    if (once.isStored) await repeats.giveUp(call.tenant, once).catch(() => undefined);
    throw error;
  }
}

/** The first answer; where whoever was to give it died before, one from what is stored, which counts from then on. */
async function replay(
  repeats: Repeats,
  tenant: string,
  once: Once,
  { answer, outcomes }: OnceRecord,
  run: (once: Once) => Promise<Reply>,
): Promise<Reply> {
  const reply = answer ?? (await keep(repeats, tenant, once, await run({ ...once, outcomes })));
  return { ...reply, headers: { ...reply.headers, 'Idempotency-Replayed': 'true' } };
}

async function keep(repeats: Repeats, tenant: string, once: Once, reply: Reply): Promise<Reply> {
  const { status, headers = {}, body } = reply;
  return repeats.keep(tenant, once, { status, headers, body });
}

function idempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined || KEY.test(header)) return header;
  throw invalid('validation', [{ path: HEADER, message: 'must be 1 to 255 visible ASCII characters' }]);
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

/** JSON in which the order of an object's members does not show. The body's depth has been checked. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join()}}`;
}
