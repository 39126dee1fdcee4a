import type { GroupLimits, GroupRate, QueueLimits } from '../../../queues/fair/group-limits.ts';

export interface ModelJob {
  id: string;
  queue: string;
  group: string;
  state: 'waiting' | 'active' | 'delayed';
  /** Order inside its group in its queue: smaller runs first. */
  place: number;
  slot: boolean;
}

/** The limits in plain words, over all queues of a prefix. Rates in it are so slow that no token comes back meanwhile. */
export class LimitModel {
  readonly jobs = new Map<string, ModelJob>();
  readonly #limits = new Map<string, GroupLimits>();
  readonly #paused = new Map<string, boolean>();
  readonly #tats = new Map<string, number>();
  #places = 0;

  add(id: string, queue: string, group: string): void {
    this.jobs.set(id, { id, queue, group, state: 'waiting', place: (this.#places += 1), slot: false });
  }

  setLimits(group: string, limits: GroupLimits | null): void {
    if (limits === null) this.#limits.delete(group);
    else this.#limits.set(group, limits);
    // A pause goes with the limits it is a part of.
    this.#paused.delete(group);
    if (limits?.paused) this.#paused.set(group, true);
    this.#adopt(group);
  }

  pause(group: string, on: boolean): void {
    if (on) this.#paused.set(group, true);
    else this.#paused.delete(group);
    this.#adopt(group);
  }

  /** Whether anything but a weight holds for the group in the queue. */
  isLimited(queue: string, group: string): boolean {
    return (
      this.#isPaused(group) ||
      this.#gates(queue, group).some(({ limit }) => limit.maxRunning != null || limit.rate != null)
    );
  }

  mayStart(queue: string, group: string): boolean {
    if (this.#isPaused(group)) return false;
    return this.#gates(queue, group).every(({ limit, key }) => {
      const full =
        limit.maxRunning != null && this.#running(group, key === group ? null : queue) >= limit.maxRunning;
      const { rate } = limit;
      const due =
        rate == null ? 0 : this.#tat(key, rate) - ((rate.burst ?? 1) - 1) * (rate.periodMs / rate.limit);
      return !full && due <= Date.now();
    });
  }

  /** The groups that wait in a queue, by whether their next job may start. */
  waiting(queue: string): { may: string[]; mayNot: string[] } {
    const groups = [...new Set(this.#in(queue, 'waiting').map((job) => job.group))].sort();
    return {
      may: groups.filter((group) => this.mayStart(queue, group)),
      mayNot: groups.filter((group) => !this.mayStart(queue, group)),
    };
  }

  order(queue: string, group: string): string[] {
    const jobs = this.#in(queue, 'waiting').filter((job) => job.group === group);
    return jobs.sort((a, b) => a.place - b.place).map((job) => job.id);
  }

  /** @throws Error when the job may not start */
  start(id: string): void {
    const job = this.#job(id);
    if (job.state !== 'waiting') throw new Error(`${id} started and was ${job.state}`);
    if (this.order(job.queue, job.group)[0] !== id) throw new Error(`${id} started out of order`);
    if (!this.mayStart(job.queue, job.group))
      throw new Error(`${id} started against the limits of ${job.group}`);
    job.slot = this.isLimited(job.queue, job.group);
    job.state = 'active';
    for (const { limit, key } of this.#gates(job.queue, job.group)) {
      const { rate } = limit;
      if (rate == null) continue;
      this.#tats.set(key, Math.max(this.#tat(key, rate), Date.now()) + rate.periodMs / rate.limit);
    }
  }

  /** A job that was active waits again: in front, as a stalled one, or at the end, as after a retry. */
  again(id: string, front: boolean): void {
    const place = (this.#places += 1);
    Object.assign(this.#job(id), { state: 'waiting', slot: false, place: front ? -place : place });
  }

  delay(id: string): void {
    Object.assign(this.#job(id), { state: 'delayed', slot: false });
  }

  nth(state: ModelJob['state'], nth: number): ModelJob | undefined {
    const jobs = [...this.jobs.values()].filter((job) => job.state === state);
    return jobs[nth % Math.max(1, jobs.length)];
  }

  slots(): Record<string, string> {
    const held = [...this.jobs.values()].filter((job) => job.slot);
    return Object.fromEntries(held.map((job) => [`${job.queue}:${job.id}`, job.group]));
  }

  /** What is owed, and never more than the rate of now would let anybody owe. */
  #tat(key: string, rate: GroupRate): number {
    const most = Date.now() + (rate.burst ?? 1) * (rate.periodMs / rate.limit);
    const tat = Math.min(this.#tats.get(key) ?? 0, most);
    this.#tats.set(key, tat);
    return tat;
  }

  #adopt(only: string): void {
    for (const job of this.jobs.values()) {
      if (job.state !== 'active' || (only !== '*' && job.group !== only)) continue;
      job.slot ||= this.isLimited(job.queue, job.group);
    }
  }

  #running(group: string, queue: string | null): number {
    return [...this.jobs.values()].filter(
      (job) => job.slot && job.group === group && (queue === null || job.queue === queue),
    ).length;
  }

  /** Its own pause, or that of `*` while it has no limits of its own. */
  #isPaused(group: string): boolean {
    return this.#paused.has(group) || (!this.#limits.has(group) && this.#paused.has('*'));
  }

  #gates(queue: string, group: string): { limit: QueueLimits; key: string }[] {
    const limits = this.#limits.get(group) ?? this.#limits.get('*') ?? {};
    return [
      { limit: limits, key: group },
      { limit: limits.queues?.[queue] ?? {}, key: `${queue}\n${group}` },
    ];
  }

  #in(queue: string, state: ModelJob['state']): ModelJob[] {
    return [...this.jobs.values()].filter((job) => job.queue === queue && job.state === state);
  }

  #job(id: string): ModelJob {
    const job = this.jobs.get(id);
    if (!job) throw new Error(`${id} is not known`);
    return job;
  }
}
