import type { GroupOptions } from '../../../queues/fair/index.ts';
import { LimitBook } from './limit-book.ts';
import type { Verdict } from './limit-book.ts';

type Strategy = NonNullable<GroupOptions['keyStrategy']>;

/** How long an active job may take to stop when a newer one of its key supersedes it. */
const GRACE_MS = 5000;

export interface JobSpec {
  id: string;
  queue: string;
  group: string;
  /** '' = none */
  key?: string;
  keyLimit?: number;
  strategy?: Strategy;
  priority?: number;
  lifo?: boolean;
  /** What one start of it moves its group's tag by, in jobs. */
  cost?: number;
}

export interface SchedulerJob extends Required<JobSpec> {
  /** `superseded`: out of everything until a sweep records it; `lost`: its group's queue was deleted. */
  state: 'new' | 'waiting' | 'blocked' | 'active' | 'delayed' | 'children' | 'superseded' | 'lost';
  /** 0 for a job that waits without priority; ranks before the place. */
  band: number;
  place: number;
  /** Order in its key. */
  arrival: number;
  holder: boolean;
  slot: boolean;
  /** `gone`: somebody deleted the job's hash; `partial`: what was written to it since. */
  hash: 'whole' | 'gone' | 'partial';
  started: boolean;
  isParent: boolean;
  parent: SchedulerJob | null;
  pending: Set<SchedulerJob>;
  /** When it was last started, by the worker's clock. */
  stampMs: number | null;
  stalls: number;
  isMarked: boolean;
  isLocked: boolean;
  cancelAtMs: number | null;
}

export interface QueueFlags {
  paused: boolean;
  concurrency: number | null;
  /** Groups whose queue was deleted and whose place in the ring nobody has looked at since. */
  ghosts: Set<string>;
  /** Whether jobs were lost since nothing waited: the counters still count them. */
  isDrifted: boolean;
}

/** Everything that waits and runs under one prefix, in plain words: shares apart, what any scheduler with these rules must do. */
export class SchedulerModel {
  readonly jobs = new Map<string, SchedulerJob>();
  readonly book: LimitBook;
  readonly flags: Record<string, QueueFlags>;
  /** Groups (`<queue>\n<group>`) that had nothing waiting at a moment since the last look. */
  readonly interrupted = new Set<string>();
  readonly #now: () => number;
  #counter = 0;

  constructor(queues: readonly string[], now: () => number) {
    this.#now = now;
    this.book = new LimitBook(now);
    this.flags = Object.fromEntries(
      queues.map((name) => [
        name,
        { paused: false, concurrency: null, ghosts: new Set<string>(), isDrifted: false },
      ]),
    );
  }

  get queues(): string[] {
    return Object.keys(this.flags);
  }

  /** A job that is known and nowhere yet. */
  create(spec: JobSpec, parent: SchedulerJob | null = null): SchedulerJob {
    const job: SchedulerJob = {
      ...{ key: '', keyLimit: 1, strategy: 'queue', priority: 0, lifo: false, cost: 1 },
      ...spec,
      ...{ state: 'new', band: 0, place: 0, arrival: 0, holder: false, slot: false, hash: 'whole' },
      ...{ started: false, isParent: false, parent: null, pending: new Set(), stampMs: null, stalls: 0 },
      ...{ isMarked: false, isLocked: false, cancelAtMs: null },
    };
    this.jobs.set(nameOf(job), job);
    if (parent) {
      job.parent = parent;
      parent.pending.add(job);
      parent.isParent = true;
    }
    return job;
  }

  /** It comes to wait for the first time. */
  arrive(job: SchedulerJob): void {
    this.#wait(job, job.lifo && job.priority === 0);
  }

  /** A new job that waits at once. */
  add(spec: JobSpec): SchedulerJob {
    const job = this.create(spec);
    this.arrive(job);
    return job;
  }

  /** A new job that is delayed, or waits for its children. */
  addLater(spec: JobSpec, state: 'delayed' | 'children'): SchedulerJob {
    const job = this.create(spec);
    job.state = state;
    job.isParent = state === 'children';
    return job;
  }

  isBusy(queue: string, group: string, key: string, limit: number): boolean {
    return this.holders(queue, group, key).length >= limit;
  }

  // What happens to jobs that wait.

  /** @throws Error when the job may not start now, or is not the next of its group */
  start(queue: string, id: string, stampMs: number): SchedulerJob {
    const job = this.job(queue, id);
    const next = this.order(queue, job.group)[0];
    if (job.state !== 'waiting') throw new Error(`${id} started and was ${job.state}`);
    if (next !== id) throw new Error(`${id} started before ${next} of the same group`);
    if (!this.isOpen(queue)) throw new Error(`${id} started in a queue that is paused or full`);
    if (this.verdict(queue, job.group).may === 'no')
      throw new Error(`${id} started against the limits of ${job.group}`);
    this.#overtaken(job);
    this.#leaveGroup(job);
    Object.assign(job, { state: 'active', started: true, isLocked: true, isMarked: false, stampMs });
    job.slot = this.book.isLimited(queue, job.group);
    if (job.hash === 'gone') job.hash = 'partial';
    if (job.slot) this.book.start(queue, job.group, job.stalls > 1);
    return job;
  }

  reprioritize(job: SchedulerJob, priority: number, lifo: boolean): void {
    const { arrival, state, group } = job;
    this.#leaveGroup(job);
    job.state = 'new';
    job.priority = priority;
    const isAlone = this.blocked(job.queue, group, job.key).length === 0;
    this.#wait(job, lifo, { isNew: false });
    // It keeps its place in its key; its limit may be wider than that of the one in front.
    if (state === 'blocked' && !job.holder && !isAlone) job.arrival = arrival;
  }

  /** Jobs that are due come to wait, in the order in which they are due. */
  promote(jobs: readonly SchedulerJob[]): void {
    // Under way they are nowhere: one that is to supersede another of them does not meet it.
    for (const job of jobs) job.state = 'new';
    for (const job of jobs) {
      this.#wait(job, false);
      if (job.hash === 'gone') job.hash = 'partial';
    }
  }

  // What happens to active jobs.

  /** After an attempt that failed. */
  retry(job: SchedulerJob): void {
    this.#release(job);
    this.#wait(job, job.lifo && job.priority === 0);
  }

  handBack(job: SchedulerJob): void {
    this.#release(job);
    this.#wait(job, true);
  }

  postpone(job: SchedulerJob): void {
    this.#release(job);
    job.state = 'delayed';
  }

  awaitChildren(job: SchedulerJob): void {
    this.#release(job);
    job.state = 'children';
    this.#releaseKey(job);
  }

  /** Jobs whose lock was gone when the check came by again; those of them that wait now, in an order of the server's. */
  checkStalled(queue: string): SchedulerJob[] {
    const stalled = this.in(queue, 'active').filter((job) => job.isMarked && !job.isLocked);
    for (const job of stalled) {
      this.#release(job);
      job.stalls += 1;
      if (job.hash === 'gone') job.hash = 'partial';
      this.#wait(job, true, { band: 0 });
    }
    for (const job of this.in(queue, 'active')) job.isMarked = true;
    return stalled;
  }

  // Ends.

  /** A job was recorded as finished: its parent hears of it. */
  finish(job: SchedulerJob): void {
    this.#end(job);
    this.#tellParent(job, (parent) => this.#wait(parent, parent.priority === 0));
  }

  /** A job was removed for itself. */
  remove(job: SchedulerJob): void {
    const { parent } = job;
    if (parent && job.hash === 'whole') this.#tellParent(job, (each) => this.#wait(each, true, { band: 0 }));
    this.#end(job);
  }

  /** A job was removed with its kind: a parent in the same queue goes with its last child. */
  sweep(job: SchedulerJob): void {
    this.#tellParent(job, (parent) => {
      if (parent.queue === job.queue) this.sweep(parent);
      else this.#wait(parent, true, { band: 0 });
    });
    this.#end(job);
  }

  sweepAll(jobs: readonly SchedulerJob[]): void {
    for (const job of jobs) if (this.jobs.has(nameOf(job))) this.sweep(job);
  }

  /** Nothing of the queue is left, its settings included. */
  obliterate(queue: string): void {
    this.sweepAll([...this.jobs.values()].filter((job) => job.queue === queue));
    Object.assign(this.flagsOf(queue), { paused: false, concurrency: null, isDrifted: false });
    this.flagsOf(queue).ghosts.clear();
  }

  /** The jobs that a clean of all ages would remove: those of a worker that holds its lock are spared. */
  cleanable(
    queue: string,
    state: 'wait' | 'prioritized' | 'delayed' | 'active',
    nowMs: number,
  ): SchedulerJob[] {
    const isOld = (job: SchedulerJob): boolean => job.stampMs === null || job.stampMs <= nowMs;
    const waiting = this.in(queue, 'waiting', 'blocked');
    switch (state) {
      case 'wait':
        return waiting.filter((job) => job.band === 0 && isOld(job));
      case 'prioritized':
        return waiting.filter((job) => job.band > 0);
      case 'delayed':
        return this.in(queue, 'delayed').filter(isOld);
      case 'active':
        return this.in(queue, 'active').filter((job) => !job.isLocked && isOld(job));
    }
  }

  // What is done to Redis behind everybody's back.

  /** Its hash is deleted: nobody knows its options any more. */
  vanish(job: SchedulerJob): void {
    Object.assign(job, {
      ...{ hash: 'gone', priority: 0, lifo: false, started: false, isParent: false, parent: null },
      ...{ keyLimit: 1, strategy: 'queue', cost: 1, stalls: 0, stampMs: null },
    });
  }

  /** The queue of a group is deleted. */
  lose(queue: string, group: string): string[] {
    const flags = this.flagsOf(queue);
    const lost = this.order(queue, group);
    for (const id of lost) {
      this.job(queue, id).state = 'lost';
      flags.ghosts.add(group);
      flags.isDrifted = true;
      this.interrupted.add(`${queue}\n${group}`);
    }
    return lost;
  }

  /** The repair takes keys from jobs that are nowhere, and slots likewise. Returns how many keys. */
  repairKeys(queue: string): number {
    const lost = this.in(queue, 'lost');
    const keys = lost.filter((job) => job.holder).length;
    for (const job of lost) this.#end(job);
    return keys;
  }

  // Limits.

  /** Active jobs take slots when a limit comes to hold for their group. */
  adoptSlots(only: string): void {
    for (const job of this.jobs.values()) {
      if (job.state !== 'active' || job.hash !== 'whole' || (only !== '*' && job.group !== only)) continue;
      job.slot ||= this.book.isLimited(job.queue, job.group);
    }
  }

  verdict(queue: string, group: string): Verdict {
    const held = [...this.jobs.values()].filter((job) => job.slot && job.group === group);
    const here = held.filter((job) => job.queue === queue).length;
    return this.book.verdict(queue, group, { all: held.length, here });
  }

  // What there is.

  /** Whether the queue as such lets a job start. */
  isOpen(queue: string): boolean {
    const { paused, concurrency } = this.flagsOf(queue);
    return !paused && (concurrency === null || this.in(queue, 'active').length < concurrency);
  }

  job(queue: string, id: string): SchedulerJob {
    const job = this.jobs.get(`${queue}:${id}`);
    if (!job) throw new Error(`${queue}:${id} is not known`);
    return job;
  }

  in(queue: string, ...states: SchedulerJob['state'][]): SchedulerJob[] {
    return [...this.jobs.values()].filter((job) => job.queue === queue && states.includes(job.state));
  }

  nth(nth: number, ...states: SchedulerJob['state'][]): SchedulerJob | undefined {
    const jobs = this.all(...states);
    return jobs[nth % Math.max(1, jobs.length)];
  }

  all(...states: SchedulerJob['state'][]): SchedulerJob[] {
    return [...this.jobs.values()].filter((job) => states.includes(job.state));
  }

  flagsOf(queue: string): QueueFlags {
    const flags = this.flags[queue];
    if (!flags) throw new Error(`${queue} is no queue of this model`);
    return flags;
  }

  waitingGroups(queue: string): string[] {
    return [...new Set(this.in(queue, 'waiting').map((job) => job.group))].sort();
  }

  order(queue: string, group: string): string[] {
    const jobs = this.in(queue, 'waiting').filter((job) => job.group === group);
    return jobs
      .sort((a, b) => a.band - b.band || a.place - b.place || (a.id < b.id ? -1 : 1))
      .map((job) => job.id);
  }

  /** Takes the order of some jobs that came to wait together from the server. */
  adoptOrder(jobs: readonly SchedulerJob[], order: readonly string[]): void {
    const waiting = jobs.filter(({ state }) => state === 'waiting' || state === 'blocked');
    const places = waiting.map((job) => job.place).sort((a, b) => a - b);
    waiting.sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
    for (const [i, job] of waiting.entries()) job.place = places[i] ?? 0;
  }

  blocked(queue: string, group: string, key: string): string[] {
    return this.#ofKey(queue, group, key)
      .filter((job) => job.state === 'blocked')
      .sort((a, b) => a.arrival - b.arrival)
      .map((job) => job.id);
  }

  holders(queue: string, group: string, key: string): string[] {
    return this.#ofKey(queue, group, key)
      .filter((job) => job.holder)
      .map((job) => job.id)
      .sort();
  }

  slots(): Record<string, string> {
    const held = [...this.jobs.values()].filter((job) => job.slot);
    return Object.fromEntries(held.map((job) => [nameOf(job), job.group]));
  }

  // How it is done.

  #wait(job: SchedulerJob, front: boolean, how: { band?: number; isNew?: boolean } = {}): void {
    // Without its options nobody knows its group, unless its key says.
    if (job.hash !== 'whole' && !job.holder) Object.assign(job, { group: '', key: '' });
    job.band = how.band ?? job.priority;
    this.#counter += 1;
    job.place = front ? (job.band > 0 ? 0 : -this.#counter) : this.#counter;
    const isNewcomer = !job.holder && !job.started && !job.isParent && how.isNew !== false;
    if (isNewcomer && job.key !== '') this.#makeWay(job);
    if (job.key !== '' && !job.holder) this.#admit(job);
    else job.state = 'waiting';
    if (job.state === 'waiting') this.flagsOf(job.queue).ghosts.delete(job.group);
  }

  #admit(job: SchedulerJob): void {
    const { queue, group, key } = job;
    job.arrival = this.#counter;
    job.holder =
      !this.isBusy(queue, group, key, job.keyLimit) && this.blocked(queue, group, key).length === 0;
    job.state = job.holder ? 'waiting' : 'blocked';
  }

  /** What a newcomer does to the others of its key. */
  #makeWay(job: SchedulerJob): void {
    const { queue, group, key } = job;
    if (job.strategy !== 'replace-waiting' && job.strategy !== 'cancel-running') return;
    const isCancelling = job.strategy === 'cancel-running';
    for (const id of this.blocked(queue, group, key)) this.#supersede(this.job(queue, id));
    if (!this.isBusy(queue, group, key, job.keyLimit)) return;
    for (const id of this.holders(queue, group, key)) {
      const holder = this.job(queue, id);
      const mayGo = isCancelling || !holder.started;
      const isThere = holder.state === 'waiting' || (isCancelling && holder.state === 'delayed');
      if (mayGo && isThere) this.#supersede(holder);
      else if (isCancelling && holder.state === 'active') holder.cancelAtMs ??= this.#now() + GRACE_MS;
    }
  }

  #supersede(job: SchedulerJob): void {
    this.#leaveGroup(job);
    Object.assign(job, { state: 'superseded', holder: false, cancelAtMs: null });
    if (job.hash === 'gone') job.hash = 'partial';
  }

  #end(job: SchedulerJob): void {
    this.#leaveGroup(job);
    this.jobs.delete(nameOf(job));
    job.slot = false;
    this.#releaseKey(job);
  }

  #release(job: SchedulerJob): void {
    Object.assign(job, { slot: false, isMarked: false, isLocked: false });
  }

  #leaveGroup(job: SchedulerJob): void {
    if (job.state !== 'waiting') return;
    job.state = 'new';
    if (this.order(job.queue, job.group).length === 0) this.interrupted.add(`${job.queue}\n${job.group}`);
  }

  /** Also when a blocked one goes: the next may have a higher limit. */
  #releaseKey(job: SchedulerJob): void {
    const { queue, group, key } = job;
    if (key === '') return;
    Object.assign(job, { holder: false, cancelAtMs: null });
    for (const next of this.blocked(queue, group, key)) {
      const candidate = this.job(queue, next);
      if (this.isBusy(queue, group, key, candidate.keyLimit)) return;
      Object.assign(candidate, { state: 'waiting', holder: true });
      this.flagsOf(queue).ghosts.delete(group);
    }
  }

  #tellParent(job: SchedulerJob, release: (parent: SchedulerJob) => void): void {
    const { parent } = job;
    if (!parent?.pending.delete(job) || parent.pending.size > 0 || parent.state !== 'children') return;
    release(parent);
  }

  #overtaken(job: SchedulerJob): void {
    const { queue, group, key } = job;
    // Without their options nobody knows the limits any more.
    if (key === '' || this.#ofKey(queue, group, key).some((each) => each.hash !== 'whole')) return;
    const running = this.#ofKey(queue, group, key).filter((each) => each.state === 'active');
    if (running.length >= Math.max(job.keyLimit, ...running.map((each) => each.keyLimit)))
      throw new Error(`${job.id} started beside ${running.length} of its key`);
    const earlier = this.#ofKey(queue, group, key).filter(
      (each) => each.state === 'blocked' && each.arrival < job.arrival,
    );
    if (earlier.length > 0) throw new Error(`${job.id} overtook ${earlier[0]?.id} of its key`);
  }

  #ofKey(queue: string, group: string, key: string): SchedulerJob[] {
    return [...this.jobs.values()].filter(
      (job) => job.queue === queue && job.group === group && job.key === key && key !== '',
    );
  }
}

export const nameOf = (job: { queue: string; id: string }): string => `${job.queue}:${job.id}`;
