import type { GroupLimits } from '../../../queues/fair/group-limits.ts';
import { LimitBook } from './limit-book.ts';

export interface ModelJob {
  id: string;
  queue: string;
  group: string;
  state: 'waiting' | 'active' | 'delayed';
  /** Order inside its group in its queue: smaller runs first. */
  place: number;
  slot: boolean;
}

/** Jobs under limits in plain words, over all queues of a prefix. Rates in it are so slow that no token comes back meanwhile. */
export class LimitModel {
  readonly jobs = new Map<string, ModelJob>();
  readonly #book = new LimitBook(Date.now);
  readonly #queues = new Set<string>();
  #places = 0;

  add(id: string, queue: string, group: string): void {
    this.#queues.add(queue);
    this.jobs.set(id, { id, queue, group, state: 'waiting', place: (this.#places += 1), slot: false });
  }

  setLimits(group: string, limits: GroupLimits | null): void {
    this.#book.set(group, limits, [...this.#queues]);
    this.#adopt(group);
  }

  pause(group: string, on: boolean): void {
    if (on) this.#book.pause(group, null);
    else this.#book.resume(group);
    this.#adopt(group);
  }

  /** Whether anything but a weight holds for the group in the queue. */
  isLimited(queue: string, group: string): boolean {
    return this.#book.isLimited(queue, group);
  }

  mayStart(queue: string, group: string): boolean {
    const running = { all: this.#running(group, null), here: this.#running(group, queue) };
    return this.#book.verdict(queue, group, running).may !== 'no';
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
    this.#book.start(job.queue, job.group, false);
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

  #in(queue: string, state: ModelJob['state']): ModelJob[] {
    return [...this.jobs.values()].filter((job) => job.queue === queue && job.state === state);
  }

  #job(id: string): ModelJob {
    const job = this.jobs.get(id);
    if (!job) throw new Error(`${id} is not known`);
    return job;
  }
}
