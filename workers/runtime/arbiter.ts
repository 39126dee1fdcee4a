/** Tenants of a source whose debts are remembered. */
const MOST_DEBTORS = 10_000;

/**
 * Who gets the next free slot: start-time fair queueing over the sources of a worker.
 *
 * Every source has a pass, the virtual time its next job is due; a granted job moves it by `units / weight`. The source
 * with the lowest pass among those that may have work is next, so granted units go in proportion to the weights. A source
 * that comes back from being idle starts at the current virtual time: it is served soon, but idle time is no credit.
 *
 * What a run takes is known when it ends. It is its tenant's debt, not that of others in the source, and who owes is served
 * later in its shard's ring. So the pass moves when the tenant is served again, to where that ring has come meanwhile: its
 * finish tag, which is up to the whole debt ahead where nobody else was served, and behind where others were for so long.
 * Debts outlive idle times of a source; when nobody has work, nobody is owed anything, as in a ring.
 *
 * Passes say who is before whom and nothing else: however far ahead a source is, it has every slot that no other one wants.
 * Pure bookkeeping: no clock, no Redis.
 */
export class Arbiter {
  readonly #lanes: Lane[];
  #virtualTime = 0;

  /** @param sources how many there are; they are called by their index */
  constructor(sources: number) {
    this.#lanes = Array.from({ length: sources }, newLane);
  }

  /**
   * The source's weight from now on; what is not a positive number says nothing and is ignored.
   * Its lead over virtual time is a debt of units, so it is worth another stretch of virtual time under another weight:
   * a source that was charged by an old weight neither starves nor gains when the new one comes.
   */
  setWeight(index: number, weight: number): void {
    if (!(weight > 0 && Number.isFinite(weight))) return;
    const lane = this.#lane(index);
    const lead = lane.pass - this.#virtualTime;
    if (lead > 0) lane.pass = this.#virtualTime + (lead * lane.weight) / weight;
    lane.weight = weight;
  }

  isReady(index: number): boolean {
    return this.#lane(index).ready;
  }

  /** Says whether the source may have work. Only such sources are picked or waited for. */
  setReady(index: number, ready: boolean): void {
    const lane = this.#lane(index);
    if (ready && !lane.ready) lane.pass = Math.max(lane.pass, this.#virtualTime);
    lane.ready = ready;
    if (!ready && this.#isIdle()) this.#settleAll();
  }

  /**
   * The source whose turn it is, or null. The caller follows up with {@link claiming}.
   * @param accepts further condition, such as a bound on parallel claims
   */
  pick(accepts: (index: number) => boolean = () => true): number | null {
    let best: number | null = null;
    let bestPass = Infinity;
    for (const [index, lane] of this.#lanes.entries()) {
      if (!lane.ready) continue;
      const pass = expectedPass(lane);
      if (pass < bestPass && accepts(index)) {
        best = index;
        bestPass = pass;
      }
    }
    return best;
  }

  /**
   * A job was asked for; that ends in {@link settled}. Until then it counts as if it were granted, so that a burst of
   * decisions is spread like a burst of jobs.
   */
  claiming(index: number): void {
    this.#lane(index).underWay += 1;
  }

  settled(index: number): void {
    this.#lane(index).underWay -= 1;
  }

  /** The source got a slot for one job of a tenant, which costs so many units. */
  granted(index: number, units = 1, tenant = ''): void {
    const lane = this.#lane(index);
    this.setReady(index, true);
    lane.pass = Math.max(lane.pass, lane.finishes.get(tenant) ?? 0);
    lane.finishes.delete(tenant);
    this.#virtualTime = Math.max(this.#virtualTime, this.#lowestPass());
    lane.pass += units / lane.weight;
  }

  /** A run of the source has taken so many units more than when it was granted, of a tenant of this weight. */
  charged(index: number, units: number, tenant: string, weight: number): void {
    const { pass, finishes } = this.#lane(index);
    // When nothing waits there is nobody to owe it.
    if (this.#isIdle()) return;
    const finish = Math.max(pass, this.#virtualTime, finishes.get(tenant) ?? 0);
    // Those charged last stand last.
    finishes.delete(tenant);
    if (finishes.size >= MOST_DEBTORS) forgetFirst(finishes);
    finishes.set(tenant, finish + units / weight);
  }

  /**
   * Whether a source that finishes a job may keep its slot for its own next job: it may while it is at most `bound` jobs
   * ahead of every other source that may have work. The bound trades exactness for saved round trips. The caller follows
   * up with {@link claiming}.
   */
  mayKeepSlot(index: number, bound: number): boolean {
    const lane = this.#lane(index);
    const pass = expectedPass(lane) - bound / lane.weight;
    return this.#lanes.every((other) => other === lane || !other.ready || pass <= expectedPass(other));
  }

  #isIdle(): boolean {
    return !this.#lanes.some((lane) => lane.ready);
  }

  /** Everybody is equal: virtual time is beyond all passes, and who was ahead of it is not any more. */
  #settleAll(): void {
    this.#virtualTime = Math.max(this.#virtualTime, ...this.#lanes.map((lane) => lane.pass));
    for (const lane of this.#lanes) lane.finishes.clear();
  }

  #lowestPass(): number {
    return this.#lanes.reduce(
      (lowest, lane) => (lane.ready ? Math.min(lowest, lane.pass) : lowest),
      Infinity,
    );
  }

  #lane(index: number): Lane {
    const lane = this.#lanes[index];
    if (lane === undefined) throw new RangeError(`There is no source ${index}`);
    return lane;
  }
}

interface Lane {
  weight: number;
  pass: number;
  /** Jobs asked for that have not come yet. */
  underWay: number;
  ready: boolean;
  /** Where tenants stand whose runs were charged, until they are served again. */
  readonly finishes: Map<string, number>;
}

function newLane(): Lane {
  return { weight: 1, pass: 0, underWay: 0, ready: false, finishes: new Map() };
}

/** The debt that was made first is likely to be outdated; more of them than are remembered are forgiven. */
function forgetFirst(finishes: Map<string, number>): void {
  const [first] = finishes.keys();
  if (first !== undefined) finishes.delete(first);
}

function expectedPass(lane: Lane): number {
  return lane.pass + lane.underWay / lane.weight;
}
