/**
 * Who gets the next free slot: stride scheduling over the sources of a worker.
 *
 * Every source has a pass, the virtual time its next job is due; a granted job moves it by `1 / weight`. The source with
 * the lowest pass among those that may have work is next, so granted jobs go in proportion to the weights. A source that
 * comes back from being idle starts at the current virtual time: it is served soon, but idle time is no credit.
 * Pure bookkeeping: no clock, no Redis.
 */
export class Arbiter {
  readonly #lanes: Lane[];
  #virtualTime = 0;

  /** @param weights the weight of each source now, by its index; what is not a positive number counts as 1. */
  constructor(weights: readonly (() => number)[]) {
    this.#lanes = weights.map((weight) => ({ weight, pass: 0, claims: 0, ready: false }));
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
   * The source whose turn it is, or null. Claims under way count as if they were granted, so that a burst of picks is
   * spread like a burst of jobs. The caller follows up with {@link claiming}.
   * @param accepts further condition, such as a bound on parallel claims
   */
  pick(accepts: (index: number) => boolean = () => true): number | null {
    let best: number | null = null;
    let bestPass = Infinity;
    for (const [index, lane] of this.#lanes.entries()) {
      if (!lane.ready) continue;
      const pass = lane.pass + lane.claims * stride(lane);
      if (pass < bestPass && accepts(index)) {
        best = index;
        bestPass = pass;
      }
    }
    return best;
  }

  /** A claim was sent; it ends in {@link settled}. */
  claiming(index: number): void {
    this.#lane(index).claims += 1;
  }

  settled(index: number): void {
    this.#lane(index).claims -= 1;
  }

  claimsOf(index: number): number {
    return this.#lane(index).claims;
  }

  /** The source got a slot for one job. */
  granted(index: number): void {
    const lane = this.#lane(index);
    this.setReady(index, true);
    this.#virtualTime = Math.max(this.#virtualTime, this.#lowestPass());
    lane.pass += stride(lane);
  }

  /**
   * Whether a source that finishes a job may keep its slot for its own next job: it may while it is at most `bound` jobs
   * ahead of every other source that may have work. The bound trades exactness for saved round trips.
   */
  mayKeepSlot(index: number, bound: number): boolean {
    const lane = this.#lane(index);
    const ahead = bound * stride(lane);
    return this.#lanes.every((other) => other === lane || !other.ready || lane.pass <= other.pass + ahead);
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
  weight: () => number;
  pass: number;
  /** Claims under way. */
  claims: number;
  ready: boolean;
}

function stride(lane: Lane): number {
  const weight = lane.weight();
  return weight > 0 && Number.isFinite(weight) ? 1 / weight : 1;
}
