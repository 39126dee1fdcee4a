/** What a whole queue or task may do, in plain words. Its rate is so slow that no token comes back meanwhile. */
export interface ModelGate {
  max: number | null;
  /** Starts that are left, and the most that may be; null without a rate. */
  tokens: number | null;
  depth: number;
}

export interface GatedJob {
  id: string;
  queue: string;
  group: string;
  task: string;
  state: 'waiting' | 'active' | 'delayed';
  /** Smaller runs first, inside its group and task. */
  place: number;
}

/** Jobs of several tasks, queues and groups under gates, and what may start. */
export class GateModel {
  readonly jobs = new Map<string, GatedJob>();
  readonly #gates = new Map<string, ModelGate>();
  readonly #maxRunning = new Map<string, number | null>();
  readonly #pausedGroups = new Set<string>();
  readonly pausedQueues = new Set<string>();
  #places = 0;

  add(id: string, queue: string, group: string, task: string): void {
    this.jobs.set(id, { id, queue, group, task, state: 'waiting', place: (this.#places += 1) });
  }

  gate(kind: 'q' | 't', name: string): ModelGate | undefined {
    return this.#gates.get(`${kind}:${name}`);
  }

  /** @param rate how many tokens it may hold, and how many it gets beside those it has */
  setGate(
    kind: 'q' | 't',
    name: string,
    gate: { max: number | null; rate: { depth: number; tokens: number } | null } | null,
  ): void {
    const key = `${kind}:${name}`;
    const had = this.#gates.get(key)?.tokens ?? 0;
    if (gate === null) this.#gates.delete(key);
    else {
      const { max, rate } = gate;
      const tokens = rate && Math.min(rate.depth, had + rate.tokens);
      this.#gates.set(key, { max, tokens, depth: rate?.depth ?? 0 });
    }
  }

  limit(group: string, maxRunning: number | null): void {
    this.#maxRunning.set(group, maxRunning);
    // Limits replace a pause.
    this.#pausedGroups.delete(group);
  }

  pause(group: string, on: boolean): void {
    if (on) this.#pausedGroups.add(group);
    else this.#pausedGroups.delete(group);
  }

  /** The jobs of a queue any of which might be next, were it not for shares: the first of each group and task. */
  eligible(queue: string): string[] {
    return this.in('waiting', queue)
      .filter((job) => this.#mayStart(job) && this.order(job)[0] === job.id)
      .map((job) => job.id)
      .sort();
  }

  order({ queue, group, task }: GatedJob): string[] {
    return this.in('waiting', queue)
      .filter((job) => job.group === group && job.task === task)
      .sort((a, b) => a.place - b.place)
      .map((job) => job.id);
  }

  /** @throws Error when the job may not start */
  start(id: string): void {
    const job = this.job(id);
    if (!this.eligible(job.queue).includes(id)) throw new Error(`${id} started, but might not`);
    job.state = 'active';
    for (const gate of this.#gatesOf(job)) if (gate.tokens !== null) gate.tokens -= 1;
  }

  /** A job that was active waits again: in front, as a stalled one, or at the end, as after a retry. */
  again(id: string, front: boolean): void {
    const place = (this.#places += 1);
    Object.assign(this.job(id), { state: 'waiting', place: front ? -place : place });
  }

  nth(state: GatedJob['state'], nth: number): GatedJob | undefined {
    const jobs = this.in(state);
    return jobs[nth % Math.max(1, jobs.length)];
  }

  in(state: GatedJob['state'], queue?: string): GatedJob[] {
    return [...this.jobs.values()].filter(
      (job) => job.state === state && (queue === undefined || job.queue === queue),
    );
  }

  running(kind: 'q' | 't', name: string): GatedJob[] {
    return this.in('active').filter((job) => (kind === 'q' ? job.queue : job.task) === name);
  }

  job(id: string): GatedJob {
    const job = this.jobs.get(id);
    if (!job) throw new Error(`${id} is not known`);
    return job;
  }

  #gatesOf({ queue, task }: GatedJob): ModelGate[] {
    return [this.gate('q', queue), this.gate('t', task)].filter((gate) => gate !== undefined);
  }

  #mayStart(job: GatedJob): boolean {
    const most = this.#maxRunning.get(job.group) ?? Infinity;
    if (this.#pausedGroups.has(job.group) || this.pausedQueues.has(job.queue)) return false;
    if (this.in('active').filter(({ group }) => group === job.group).length >= most) return false;
    return (['q', 't'] as const).every((kind) => {
      const name = kind === 'q' ? job.queue : job.task;
      const gate = this.gate(kind, name);
      if (!gate) return true;
      return this.running(kind, name).length < (gate.max ?? Infinity) && (gate.tokens ?? Infinity) >= 1;
    });
  }
}
