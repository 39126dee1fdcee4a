import type { OverallLimits } from '../../src/shared/overall-schemas.ts';
import type { FairQueueBackend, Gate, GateChange, GateState } from '../fair/index.ts';
import type { Demand, Shares } from './shares.ts';

/** What a whole queue (`q`) or task (`t`) may do. */
export interface Definition {
  kind: Gate['kind'];
  name: string;
  limits: OverallLimits;
}

/** The backend of any queue of a shard: gates are the shard's. */
export type Shard = Pick<FairQueueBackend, 'changeGates'>;

/** What a round came to: `stale` when somebody else has taken over, `draining` when units come free as jobs end. */
export type Round = 'done' | 'draining' | 'stale';

/** A gate of one shard as it is: without units where there is none yet. */
type Part = Omit<GateState, 'a' | 'm'> & { a: number; m: number | null };

/**
 * Brings every shard's part of every limit to where it should be. Units are taken away first, from what a shard does not
 * use; only what nobody has, and no running job, is given out. So the parts of all shards together never exceed a limit,
 * wherever this stops: a unit that nobody has is found by the next round.
 *
 * A rate's units are its burst: a shard with a of them has that part of the rate. It may spend what it has saved; what it
 * cannot keep when units are taken away goes with them, so all tokens together are those of one bucket.
 *
 * @param fence as in {@link FairQueueBackend.changeGates}; the shards hold the truth, so nothing else is kept
 */
export async function balance(
  shards: readonly Shard[],
  definitions: readonly Definition[],
  fence: number,
  shares: Shares,
): Promise<Round> {
  const before = await changeAll(shards, () => [], fence);
  if (before === null) return 'stale';
  const plans = definitions.map((definition) => new Plan(definition, before, shares));
  const unknown = before.map((states) => states.filter((state) => !plans.some((plan) => plan.isFor(state))));
  const lowered = await changeAll(
    shards,
    (i) => [
      ...(unknown[i] ?? []).map(({ kind, name }): GateChange => ({ kind, name, gone: true })),
      ...plans.flatMap((plan) => plan.lower(i)),
    ],
    fence,
    before,
  );
  if (lowered === null) return 'stale';
  for (const plan of plans) plan.lowered(lowered);
  const raised = await changeAll(shards, (i) => plans.flatMap((plan) => plan.raise(i)), fence, lowered);
  if (raised === null) return 'stale';
  return plans.some((plan) => plan.isDraining(raised)) ? 'draining' : 'done';
}

/** @param known what the gates are where nothing changes; null to look everywhere */
async function changeAll(
  shards: readonly Shard[],
  changes: (shard: number) => GateChange[],
  fence: number,
  known: readonly GateState[][] | null = null,
): Promise<GateState[][] | null> {
  const states = await Promise.all(
    shards.map(async (shard, i) => {
      const own = changes(i);
      return (own.length === 0 ? known?.[i] : undefined) ?? (await shard.changeGates(own, fence));
    }),
  );
  return states.every((each) => each !== null) ? states : null;
}

/** One limit over all shards. */
class Plan {
  readonly #kind: Gate['kind'];
  readonly #name: string;
  readonly #max: number | null;
  readonly #rate: { e: number; b: number } | null;
  readonly #targetM: readonly number[];
  readonly #targetA: readonly number[];
  /** A rate that no shard has yet begins with all its tokens. */
  readonly #isFresh: boolean;
  #parts: readonly (Part | null)[];
  #raises: readonly { m: number | null; a: number; tokens: number }[] = [];

  constructor({ kind, name, limits }: Definition, states: readonly GateState[][], shares: Shares) {
    this.#kind = kind;
    this.#name = name;
    this.#max = limits.maxRunning;
    const { rate } = limits;
    this.#rate = rate && { e: inDigits((rate.periodMs * 1000) / rate.limit), b: rate.burst };
    this.#parts = this.#partsOf(states);
    this.#isFresh = this.#parts.every((part) => part?.e === undefined);
    const split = (of: string, units: number, demands: Demand[]): number[] =>
      shares.split(`${kind}:${name} ${of}`, units, demands);
    this.#targetM = this.#max === null ? [] : split('m', this.#max, this.#parts.map(demandOfRunning));
    this.#targetA = this.#rate === null ? [] : split('a', this.#rate.b, this.#parts.map(demandOfRate));
  }

  isFor({ kind, name }: GateState): boolean {
    return kind === this.#kind && name === this.#name && !(this.#max === null && this.#rate === null);
  }

  /** What a shard must give up, and what must be set before anything is given out. */
  lower(i: number): GateChange[] {
    const part = this.#parts[i] ?? null;
    if (this.#max === null && this.#rate === null) return [];
    // Alone, a shard needs not wait for what others give up.
    if (part === null && this.#parts.length === 1) return [];
    const m = this.#max === null ? null : this.#keeps(i);
    const a = this.#rate === null ? 0 : Math.min(part?.a ?? 0, this.#targetA[i] ?? 0);
    const isSame =
      part !== null && m === part.m && a === part.a && part.e === this.#rate?.e && part.b === this.#rate?.b;
    return isSame ? [] : [this.#gate(m, a, 0)];
  }

  /** What a shard keeps of its units: what it should have, and nothing unused while more jobs run than may. */
  #keeps(i: number): number {
    const part = this.#parts[i] ?? null;
    const kept = (of: number): number => Math.min(this.#parts[of]?.m ?? 0, this.#targetM[of] ?? 0);
    const claims = this.#parts.map((each, of) => Math.max(kept(of), each?.run ?? 0));
    const isOverrun = claims.reduce((sum, claim) => sum + claim, 0) > (this.#max ?? 0);
    return isOverrun ? Math.min(kept(i), part?.run ?? 0) : kept(i);
  }

  /** Works out what can be given out now. */
  lowered(states: readonly GateState[][]): void {
    this.#parts = this.#partsOf(states);
    const parts = this.#parts;
    let units = this.#max === null ? 0 : this.#max - total(parts, claimOf);
    let rateUnits = this.#rate === null ? 0 : this.#rate.b - total(parts, (part) => part?.a ?? 0);
    const raises = parts.map((part, i) => {
      const claim = claimOf(part);
      const m = this.#max === null ? null : Math.min(this.#targetM[i] ?? 0, claim + Math.max(0, units));
      units -= Math.max(0, (m ?? 0) - claim);
      const a = Math.min(this.#targetA[i] ?? 0, (part?.a ?? 0) + Math.max(0, rateUnits));
      rateUnits -= Math.max(0, a - (part?.a ?? 0));
      return { m: m === null ? null : Math.max(m, part?.m ?? 0), a: Math.max(a, part?.a ?? 0) };
    });
    const given = raises.map(({ a }, i) => a - (parts[i]?.a ?? 0));
    const all = given.reduce((sum, each) => sum + each, 0);
    const tokens = this.#isFresh
      ? all
      : Math.min(
          all,
          total(parts, (part) => part?.surplus ?? 0),
        );
    this.#raises = raises.map((raise, i) => ({
      ...raise,
      tokens: all > 0 ? (tokens * (given[i] ?? 0)) / all : 0,
    }));
  }

  raise(i: number): GateChange[] {
    const [part, raise] = [this.#parts[i] ?? null, this.#raises[i]];
    if ((this.#max === null && this.#rate === null) || raise === undefined) return [];
    if (part !== null && raise.m === part.m && raise.a === part.a) return [];
    return [this.#gate(raise.m, raise.a, raise.tokens)];
  }

  /** Whether running jobs hold units that another shard is to have. */
  isDraining(states: readonly GateState[][]): boolean {
    return this.#partsOf(states).some(
      (part) => this.#max !== null && part !== null && part.run > (part.m ?? 0),
    );
  }

  #gate(m: number | null, a: number, tokens: number): GateChange {
    return {
      kind: this.#kind,
      name: this.#name,
      ...(m === null ? {} : { m }),
      ...(this.#rate === null ? {} : { ...this.#rate, a, tokens }),
    };
  }

  #partsOf(states: readonly GateState[][]): (Part | null)[] {
    return states.map((ofShard) => {
      const found = ofShard.find(({ kind, name }) => kind === this.#kind && name === this.#name);
      return found === undefined ? null : { ...found, m: found.m ?? null, a: found.a ?? 0 };
    });
  }
}

/** As many digits as Lua's JSON keeps: what comes back is to be what was sent. */
function inDigits(number: number): number {
  return Number(number.toPrecision(12));
}

/** What nobody else may have: a shard's units, and those of its jobs that still run after it had to give some up. */
function claimOf(part: Part | null): number {
  return Math.max(part?.m ?? 0, part?.run ?? 0);
}

function demandOfRunning(part: Part | null): Demand {
  const { run = 0, waiting = 0, weight = 0, m = 0 } = part ?? {};
  return {
    wants: run + waiting,
    weight: waiting > 0 ? Math.max(weight, 1e-3) : Math.max(run, 1),
    has: m ?? 0,
  };
}

function demandOfRate(part: Part | null): Demand {
  const { waiting = 0, weight = 0, a = 0 } = part ?? {};
  return { wants: waiting > 0 ? Infinity : 0, weight: Math.max(weight, 1e-3), has: a };
}

function total(parts: readonly (Part | null)[], of: (part: Part | null) => number): number {
  return parts.reduce((sum, part) => sum + of(part), 0);
}
