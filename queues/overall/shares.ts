/** What one shard wants of a limit's units, and has. */
export interface Demand {
  /** The summed weight of those who wait there; anything positive where only some run. */
  weight: number;
  /** Units it could use; Infinity = any number. */
  wants: number;
  has: number;
}

/** How long one shard keeps a unit that several have a claim to. */
const TURN_MS = 1000;

interface Turn {
  /** What each shard was promised and has not got yet. */
  credits: number[];
  /** Who has the units of which nobody is entitled to a whole one. */
  holders: readonly number[];
  situation: string;
  since: number;
}

/**
 * Splits the units of limits over shards in whole numbers: in proportion to the weights, nobody more than it wants while
 * another wants more. What does not divide goes round, so that in the long run everybody gets its exact share, also where
 * there are fewer units than shards. What nobody wants stays where it is.
 */
export class Shares {
  readonly #turns = new Map<string, Turn>();
  readonly #now: () => number;

  /** @param now ms of a clock that never jumps */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** The units of each shard; together exactly `units`. @param limit which limit this is */
  split(limit: string, units: number, demands: readonly Demand[]): number[] {
    const exact = inProportion(units, demands);
    const whole = exact.map((share) => Math.floor(share + 1e-9));
    const over = units - sum(whole);
    const fractions = exact.map((share, i) => share - (whole[i] ?? 0));
    const contended = Math.min(over, Math.round(sum(fractions)));
    if (contended > 0) for (const i of this.#holders(limit, contended, whole, fractions)) add(whole, i, 1);
    else this.#turns.delete(limit);
    return withSpare(whole, units - sum(whole), demands);
  }

  /** Forgets limits that are gone. */
  keepOnly(limits: ReadonlySet<string>): void {
    for (const limit of this.#turns.keys()) if (!limits.has(limit)) this.#turns.delete(limit);
  }

  #holders(
    limit: string,
    count: number,
    whole: readonly number[],
    fractions: readonly number[],
  ): readonly number[] {
    const known = this.#turns.get(limit);
    const situation = [count, ...whole, ...fractions.map((each) => each > 1e-9)].join();
    if (known?.situation === situation && this.#now() - known.since < TURN_MS) return known.holders;
    const credits = fractions.map((fraction, i) =>
      fraction > 1e-9 ? (known?.credits[i] ?? 0) + fraction : 0,
    );
    const holders = [...credits.keys()]
      .filter((i) => (fractions[i] ?? 0) > 1e-9)
      .sort((a, b) => (credits[b] ?? 0) - (credits[a] ?? 0))
      .slice(0, count);
    for (const i of holders) add(credits, i, -1);
    this.#turns.set(limit, { credits, holders, situation, since: this.#now() });
    return holders;
  }
}

/** Weighted max-min shares: who wants less than its share leaves the rest to the others. */
function inProportion(units: number, demands: readonly Demand[]): number[] {
  const shares = demands.map(() => 0);
  let open = [...demands.keys()].filter((i) => (demands[i]?.wants ?? 0) > 0);
  let left = units;
  for (;;) {
    const weight = sum(open.map((i) => demands[i]?.weight ?? 0));
    const share = (i: number): number => (left * (demands[i]?.weight ?? 0)) / weight;
    const content = open.filter((i) => (demands[i]?.wants ?? 0) <= share(i));
    if (content.length === 0) {
      for (const i of open) shares[i] = share(i);
      return shares;
    }
    for (const i of content) {
      shares[i] = demands[i]?.wants ?? 0;
      left -= shares[i];
    }
    open = open.filter((i) => !content.includes(i));
    if (open.length === 0) return shares;
  }
}

/** Units that nobody wants: they stay where they are; those that are nowhere go to who has the fewest. */
function withSpare(shares: readonly number[], spare: number, demands: readonly Demand[]): number[] {
  const all = [...shares];
  let left = spare;
  for (const [i, { has }] of demands.entries()) {
    const kept = Math.min(left, Math.max(0, has - (all[i] ?? 0)));
    add(all, i, kept);
    left -= kept;
  }
  while (left > 0) {
    const fewest = Math.min(...all);
    const poorest = [...all.keys()].filter((i) => all[i] === fewest);
    const next = Math.min(...all.filter((each) => each > fewest), Infinity);
    const each = Math.max(1, Math.min(Math.floor(left / poorest.length), next - fewest));
    for (const i of poorest.slice(0, left)) {
      add(all, i, each);
      left -= each;
    }
  }
  return all;
}

function add(list: number[], i: number, amount: number): void {
  list[i] = (list[i] ?? 0) + amount;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
