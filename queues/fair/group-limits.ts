/** At most `limit` jobs start per `periodMs`, evenly spaced; up to `burst` (1) of them at once after a quiet time. */
export interface GroupRate {
  limit: number;
  periodMs: number;
  burst?: number;
}

/** What may hold a group back in one queue, or, on the group itself, over all queues of the prefix. */
export interface QueueLimits {
  /** Share relative to other groups, from 0.001 to 1000. */
  weight?: number | undefined;
  /** Jobs that may be active at once; null = no limit. 0 holds everything. */
  maxRunning?: number | null | undefined;
  rate?: GroupRate | null | undefined;
  /** Beside what a job costs when it starts, each so many ms that it ran count as one job more; null = they do not. */
  chargeRunMs?: number | null | undefined;
}

export interface GroupLimits extends QueueLimits {
  /** Whether the group starts nothing until it is resumed. */
  paused?: boolean;
  /** What holds in single queues beside the rest; a weight or charge there holds instead of the group's own. */
  queues?: Record<string, QueueLimits>;
}

/** As ring/limits.lua reads it. */
interface StoredLimits {
  w?: number;
  m?: number;
  e?: number;
  t?: number;
  u?: number;
  i?: number;
  c?: number;
  q?: Record<string, StoredLimits>;
}

/**
 * The entry of a group in the hash `limits`: just its weight where it has no limits, because such groups are the rule.
 * @throws RangeError for a number out of its range
 */
export function encodeLimits(limits: GroupLimits): string {
  const stored = encodeQueueLimits(limits);
  if (limits.paused) stored.u = -1;
  const queues = Object.entries(limits.queues ?? {}).map(([name, each]) => [name, encodeQueueLimits(each)]);
  if (queues.length > 0) stored.q = Object.fromEntries(queues) as Record<string, StoredLimits>;
  const { w = 1, ...rest } = stored;
  return Object.keys(rest).length === 0 ? String(w) : JSON.stringify({ w, ...rest });
}

function encodeQueueLimits({ weight, maxRunning, rate, chargeRunMs }: QueueLimits): StoredLimits {
  const stored: StoredLimits = {};
  if (weight !== undefined) stored.w = within('weight', weight, 0.001, 1000);
  if (maxRunning != null) stored.m = whole('maxRunning', maxRunning, 0);
  if (rate != null) {
    const limit = whole('rate.limit', rate.limit, 1);
    const periodUs = whole('rate.periodMs', rate.periodMs, 1) * 1000;
    stored.e = periodUs / limit;
    stored.t = stored.e * (whole('rate.burst', rate.burst ?? 1, 1) - 1);
  }
  if (chargeRunMs != null) stored.c = whole('chargeRunMs', chargeRunMs, 1);
  return stored;
}

function whole(name: string, value: number, least: number): number {
  if (!Number.isSafeInteger(value)) throw new RangeError(`${name} must be a whole number, not ${value}`);
  return within(name, value, least, 1e12);
}

function within(name: string, value: number, least: number, most: number): number {
  if (value >= least && value <= most) return value;
  throw new RangeError(`${name} must be from ${least} to ${most}, not ${value}`);
}

/**
 * Until when a group with the entry `own`, beside the entry `others` of `*`, is paused: ms, Infinity without end, null
 * when it is not, or not any more.
 */
export function decodePause(own: string | null, others: string | null): number | null {
  const entry = decoded(own ?? others);
  const ends = [entry.u, entry.i === undefined ? undefined : decoded(others).u].map(endOf);
  const until = Math.max(...ends);
  return until > Date.now() ? until : null;
}

/** The weight of a group with the entry `own`, beside the entry `others` of `*`. */
export function decodeWeight(own: string | null, others: string | null): number {
  const entry = own === null || decoded(own).i !== undefined ? others : own;
  if (entry === null) return 1;
  return Number(entry.startsWith('{') ? (decoded(entry).w ?? 1) : entry);
}

/** A stored end of a pause in ms; 0 when there is none. */
function endOf(until: number | undefined): number {
  if (until === undefined) return 0;
  return until < 0 ? Infinity : Math.ceil(until / 1000);
}

function decoded(entry: string | null): StoredLimits {
  return entry?.startsWith('{') ? (JSON.parse(entry) as StoredLimits) : {};
}
