import type { GroupLimits, GroupRate, QueueLimits } from '../../../queues/fair/group-limits.ts';

/** Within so much of a due time nobody can say on which side of it the server was. */
const SLACK_MS = 30_000;

/** Whether a group may start a job; `maybe` while the books do not know. `dueMs` is Infinity until an event. */
export interface Verdict {
  may: 'yes' | 'no' | 'maybe';
  dueMs: number;
  /** Whether `dueMs` is known, up to a few seconds. */
  isExact: boolean;
}

/** A theoretical arrival time: somewhere between the two. The server forgives debts when it looks, the books do not know when. */
interface Debt {
  low: number;
  high: number;
}

/** The limits, weights, pauses and rates of groups in plain words, over all queues of a prefix; times in ms of `now`. */
export class LimitBook {
  readonly #now: () => number;
  readonly #limits = new Map<string, GroupLimits>();
  readonly #pausedUntil = new Map<string, number>();
  readonly #debts = new Map<string, Debt>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** @param queues those in which the server looks at the group at once */
  set(group: string, limits: GroupLimits | null, queues: readonly string[]): void {
    if (limits === null) this.#limits.delete(group);
    else this.#limits.set(group, limits);
    // A pause goes with the limits it is a part of.
    this.#pausedUntil.delete(group);
    if (limits?.paused) this.#pausedUntil.set(group, Infinity);
    if (group !== '*') this.#forgive(group, queues);
  }

  /** @param forMs null = without end */
  pause(group: string, forMs: number | null): void {
    this.#pausedUntil.set(group, forMs === null ? Infinity : this.#now() + forMs);
  }

  /** A pause that lasts longer stays as it is. */
  extendPause(group: string, forMs: number): void {
    const until = Math.max(this.#pausedUntil.get(group) ?? 0, this.#now() + forMs);
    this.#pausedUntil.set(group, until);
  }

  resume(group: string): void {
    this.#pausedUntil.delete(group);
  }

  /** Whether anything but a weight holds for the group in the queue. */
  isLimited(queue: string, group: string): boolean {
    return (
      this.#pauseOf(group) !== undefined ||
      this.#gates(queue, group).some(({ limit }) => limit.maxRunning != null || limit.rate != null)
    );
  }

  weight(queue: string, group: string): number {
    const limits = this.#of(group);
    return limits.queues?.[queue]?.weight ?? limits.weight ?? 1;
  }

  /** @param running how many jobs of the group hold slots in all queues, and in this one */
  verdict(queue: string, group: string, running: { all: number; here: number }): Verdict {
    const pausedUntil = this.#pauseOf(group) ?? 0;
    if (pausedUntil === Infinity) return HELD;
    let [low, high] = [pausedUntil, pausedUntil];
    for (const { limit, key } of this.#gates(queue, group)) {
      const { rate, maxRunning } = limit;
      if (maxRunning != null && (key === group ? running.all : running.here) >= maxRunning) return HELD;
      if (rate == null) continue;
      const debt = this.#debt(key, rate);
      low = Math.max(low, debt.low - aheadMs(rate));
      high = Math.max(high, Math.min(debt.high, this.#mostMs(rate)) - aheadMs(rate));
    }
    const now = this.#now();
    const may = high <= now - SLACK_MS ? 'yes' : low > now + SLACK_MS ? 'no' : 'maybe';
    return { may, dueMs: low, isExact: high - low < SLACK_MS };
  }

  /** @param free whether the job spends no token */
  start(queue: string, group: string, free: boolean): void {
    for (const { limit, key } of this.#gates(queue, group)) {
      const { rate } = limit;
      if (rate == null || free) continue;
      const { low, high } = this.#debt(key, rate);
      const now = this.#now();
      this.#debts.set(key, {
        low: Math.max(low, now) + everyMs(rate),
        high: Math.max(Math.min(high, this.#mostMs(rate)), now) + everyMs(rate),
      });
    }
  }

  /** Another clock has written the debts of a group: they are off by so much, or not. */
  blur(group: string, byMs: number): void {
    for (const [key, { low, high }] of this.#debts) {
      if (key !== group && !key.endsWith(`\n${group}`)) continue;
      this.#debts.set(key, { low: low + Math.min(byMs, 0), high: high + Math.max(byMs, 0) });
    }
  }

  /** Nobody owes more than the rate of now would let him, from the first look on. */
  age(queue: string, group: string): void {
    for (const { limit, key } of this.#gates(queue, group)) if (limit.rate) this.#debt(key, limit.rate);
  }

  #forgive(group: string, queues: readonly string[]): void {
    for (const queue of queues)
      for (const { limit, key } of this.#gates(queue, group)) {
        if (!limit.rate) continue;
        const { low, high } = this.#debt(key, limit.rate);
        this.#debts.set(key, { low, high: Math.min(high, this.#mostMs(limit.rate)) });
      }
  }

  #debt(key: string, rate: GroupRate): Debt {
    const { low, high } = this.#debts.get(key) ?? { low: 0, high: 0 };
    const debt = { low: Math.min(low, this.#mostMs(rate)), high };
    this.#debts.set(key, debt);
    return debt;
  }

  /** The latest arrival time that the rate of now can have made. */
  #mostMs(rate: GroupRate): number {
    return this.#now() + aheadMs(rate) + everyMs(rate);
  }

  /** Its own pause, or that of `*` while it has no limits of its own; the longer one counts. */
  #pauseOf(group: string): number | undefined {
    const own = this.#pausedUntil.get(group);
    const others = this.#limits.has(group) ? undefined : this.#pausedUntil.get('*');
    return own === undefined ? others : Math.max(own, others ?? 0);
  }

  #of(group: string): GroupLimits {
    return this.#limits.get(group) ?? this.#limits.get('*') ?? {};
  }

  #gates(queue: string, group: string): { limit: QueueLimits; key: string }[] {
    const limits = this.#of(group);
    return [
      { limit: limits, key: group },
      { limit: limits.queues?.[queue] ?? {}, key: `${queue}\n${group}` },
    ];
  }
}

const HELD: Verdict = { may: 'no', dueMs: Infinity, isExact: true };

const everyMs = (rate: GroupRate): number => rate.periodMs / rate.limit;
const aheadMs = (rate: GroupRate): number => everyMs(rate) * ((rate.burst ?? 1) - 1);
