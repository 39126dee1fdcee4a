interface Waiting {
  id: string;
  group: string;
  priority: number;
  /** Place among jobs of the same priority: smaller runs first. */
  place: number;
}

/** What waits in a queue with groups, in plain words: inside a group, jobs without priority, then by priority, then by arrival. */
export class GroupModel {
  paused = false;
  readonly #waiting = new Map<string, Waiting>();
  readonly #known = new Map<string, { group: string; priority: number }>();
  /** Jobs that were added last in, first out; their retries go to the front as well. */
  readonly #lifo = new Set<string>();
  readonly #vanished = new Set<string>();
  #arrivals = 0;

  get waiting(): number {
    return this.#waiting.size;
  }

  push(group: string, id: string, priority: number, front: boolean): void {
    const arrival = ++this.#arrivals;
    this.#known.set(id, { group, priority });
    this.#waiting.set(id, { id, group, priority, place: front ? -arrival : arrival });
  }

  addLifo(group: string, id: string): void {
    this.#lifo.add(id);
    this.push(group, id, 0, true);
  }

  /** A job that is known but delayed. */
  later(group: string, id: string, priority: number): void {
    this.#known.set(id, { group, priority });
  }

  /** A job that is known and comes (back) from elsewhere: it goes to the back of its priority, or to the front if it was added so. */
  again(id: string): void {
    const { group = '', priority = 0 } = this.#known.get(id) ?? {};
    this.push(group, id, priority, this.#lifo.has(id) && priority === 0);
  }

  reprioritize(id: string, priority: number, lifo: boolean): void {
    const group = this.#waiting.get(id)?.group ?? '';
    this.push(group, id, priority, lifo && priority === 0);
    const entry = this.#waiting.get(id);
    if (entry && lifo && priority > 0) entry.place = 0;
  }

  remove(id: string): void {
    this.#waiting.delete(id);
  }

  vanish(id: string): void {
    this.#vanished.add(id);
  }

  isVanished(id: string): boolean {
    return this.#vanished.has(id);
  }

  nthWaiting(nth: number): string | undefined {
    return [...this.#waiting.keys()][nth % Math.max(1, this.#waiting.size)];
  }

  /** @throws Error when the job does not wait or is not the first of its group */
  pick(id: string): void {
    const group = this.#waiting.get(id)?.group;
    if (group === undefined) throw new Error(`${id} was picked and does not wait`);
    const first = this.#inOrder(group)[0];
    if (first !== id) throw new Error(`${id} was picked before ${first} of the same group`);
    this.#waiting.delete(id);
  }

  counts(): { wait: number; prioritized: number } {
    const prioritized = [...this.#waiting.values()].filter((job) => job.priority > 0).length;
    return { wait: this.#waiting.size - prioritized, prioritized };
  }

  orders(): Record<string, string[]> {
    const groups = new Set([...this.#waiting.values()].map((job) => job.group));
    return Object.fromEntries([...groups].map((group) => [`group ${group}`, this.#inOrder(group)]));
  }

  #inOrder(group: string): string[] {
    return [...this.#waiting.values()]
      .filter((job) => job.group === group)
      .sort((a, b) => a.priority - b.priority || a.place - b.place || (a.id < b.id ? -1 : 1))
      .map((job) => job.id);
  }
}
