export interface KeyedJob {
  id: string;
  group: string;
  /** '' = none */
  key: string;
  limit: number;
  state: 'waiting' | 'blocked' | 'active' | 'delayed';
  holder: boolean;
  /** Order in its group: smaller runs first. */
  place: number;
  /** Order in its key. */
  arrival: number;
}

/** Keys in plain words, for one queue: who holds one, who waits for it, and in which order. */
export class KeyModel {
  readonly jobs = new Map<string, KeyedJob>();
  #counter = 0;

  /** A new job that may run at once as far as its key goes, or is blocked. */
  add(id: string, group: string, key: string, limit: number): void {
    const job: KeyedJob = { id, group, key, limit, state: 'delayed', holder: false, place: 0, arrival: 0 };
    this.jobs.set(id, job);
    this.#arrive(job, false);
  }

  addDelayed(id: string, group: string, key: string, limit: number): void {
    this.jobs.set(id, { id, group, key, limit, state: 'delayed', holder: false, place: 0, arrival: 0 });
  }

  isBusy(group: string, key: string, limit: number): boolean {
    return this.#of(group, key).filter((job) => job.holder).length >= limit;
  }

  /** @throws Error when the job is not the next of its group */
  start(id: string): void {
    const job = this.#job(id);
    if (this.order(job.group)[0] !== id)
      throw new Error(`${id} started, expected ${this.order(job.group)[0]}`);
    job.state = 'active';
    const running = this.#of(job.group, job.key).filter((each) => each.state === 'active');
    if (job.key !== '' && running.length > job.limit)
      throw new Error(`${running.length} of key ${job.key} run`);
    const earlier = this.#of(job.group, job.key).filter(
      (each) => each.state === 'blocked' && each.arrival < job.arrival,
    );
    if (job.key !== '' && earlier.length > 0) throw new Error(`${id} overtook ${earlier[0]?.id} of its key`);
  }

  /** An active job waits again, or a delayed one is due. */
  again(id: string, front: boolean): void {
    this.#arrive(this.#job(id), front);
  }

  delay(id: string): void {
    this.#job(id).state = 'delayed';
  }

  /** The job is finished, removed or gone. */
  end(id: string): void {
    const job = this.#job(id);
    this.jobs.delete(id);
    if (!job.holder) return;
    for (const next of this.blocked(job.group, job.key)) {
      const candidate = this.#job(next);
      if (this.isBusy(job.group, job.key, candidate.limit)) return;
      Object.assign(candidate, { state: 'waiting', holder: true });
    }
  }

  order(group: string): string[] {
    const jobs = [...this.jobs.values()].filter((job) => job.group === group && job.state === 'waiting');
    return jobs.sort((a, b) => a.place - b.place).map((job) => job.id);
  }

  blocked(group: string, key: string): string[] {
    const jobs = this.#of(group, key).filter((job) => job.state === 'blocked');
    return jobs.sort((a, b) => a.arrival - b.arrival).map((job) => job.id);
  }

  holders(group: string, key: string): string[] {
    return this.#of(group, key)
      .filter((job) => job.holder)
      .map((job) => job.id)
      .sort();
  }

  nth(states: readonly KeyedJob['state'][], nth: number): KeyedJob | undefined {
    const jobs = [...this.jobs.values()].filter((job) => states.includes(job.state));
    return jobs[nth % Math.max(1, jobs.length)];
  }

  count(...states: KeyedJob['state'][]): number {
    return [...this.jobs.values()].filter((job) => states.includes(job.state)).length;
  }

  #arrive(job: KeyedJob, front: boolean): void {
    this.#counter += 1;
    job.place = front ? -this.#counter : this.#counter;
    if (!job.holder) job.arrival = this.#counter;
    const mayRun =
      job.key === '' ||
      job.holder ||
      (!this.isBusy(job.group, job.key, job.limit) && this.blocked(job.group, job.key).length === 0);
    job.state = mayRun ? 'waiting' : 'blocked';
    job.holder = mayRun && job.key !== '';
  }

  #of(group: string, key: string): KeyedJob[] {
    return [...this.jobs.values()].filter((job) => job.group === group && job.key === key);
  }

  #job(id: string): KeyedJob {
    const job = this.jobs.get(id);
    if (!job) throw new Error(`${id} is not known`);
    return job;
  }
}
