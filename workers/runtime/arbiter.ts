/**
 * Who gets the next free slot: start-time fair queueing over the sources of a worker.
 *
 * Every source has a pass, the virtual time its next job is due; a granted job moves it by `units / weight`. The source
 * with the lowest pass among those that may have work is next, so granted units go in proportion to the weights. A source
 * that comes back from being idle starts at the current virtual time: it is served soon, but idle time is no credit.
 * Pure bookkeeping: no clock, no Redis.
 */
export class Arbiter {
  readonly #lanes: Lane[];
  #virtualTime = 0;

  /** @param sources how many there are; they are called by their index */
  constructor(sources: number) {
    this.#lanes = Array.from({ length: sources }, () => ({ weight: 1, pass: 0, underWay: 0, ready: false }));
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

  /** The source got a slot for one job, which costs its tenant so many units. */
  granted(index: number, units = 1): void {
    const lane = this.#lane(index);
    this.setReady(index, true);
    this.#virtualTime = Math.max(this.#virtualTime, this.#lowestPass());
    lane.pass += units / lane.weight;
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
}

function expectedPass(lane: Lane): number {
  return lane.pass + lane.underWay / lane.weight;
}
