/** What {@link Repair} found: slots given back and taken, keys given back, groups parked wrongly. */
export interface Repairs {
  released: number;
  adopted: number;
  keys: number;
  parked: number;
}

/** Runs a script of the backend in a queue. */
export type Execute = (script: string, args: (string | number)[]) => Promise<unknown>;

/** Where a walk is that some scripts make together, and how many of them at once. */
interface Walk {
  readonly place: string;
  readonly steps: number;
  cursor: string;
}

/** Keys or jobs per script. */
const LOOKED_AT_ONCE = 200;

/** Active jobs per script: each may cost some calls. */
const ADOPTED_AT_ONCE = 50;

/** Groups per script when many are brought to where their limits want them: half a millisecond each time. */
const SETTLED_AT_ONCE = 6;

const wholeWalk = (place = ''): Walk => ({ place, steps: Infinity, cursor: '0' });

/** Brings all groups of a queue to where their limits want them, after those of `*` changed: that change left `mark`. */
export async function settleAll(execute: Execute, mark: string): Promise<void> {
  let cursor = '0';
  do {
    cursor = String(await execute('settleGroups', [cursor, SETTLED_AT_ONCE, mark]));
  } while (cursor !== '0');
}

/**
 * Compares what is held of limits and keys in one queue with the jobs that hold it, and mends what differs.
 *
 * What keeps others waiting is looked at each time: the slots, and the keys for which jobs wait, 10,000 of those at a time. A
 * key that nobody waits for keeps nobody: of all jobs with keys, of which there may be millions, 2,000 are looked at each time.
 */
export class Repair {
  readonly #execute: Execute;
  readonly #keyWalks: readonly Walk[] = [
    { place: 'bk', steps: 50, cursor: '0' },
    { place: 'kj', steps: 10, cursor: '0' },
  ];

  constructor(execute: Execute) {
    this.#execute = execute;
  }

  /** What is due, unless somebody did it less than `onceInMs` ago. */
  due(onceInMs: number): Promise<Repairs> {
    return this.#run(onceInMs, this.#keyWalks);
  }

  all(): Promise<Repairs> {
    return this.#run(0, [wholeWalk('kj')]);
  }

  async #run(onceInMs: number, keyWalks: readonly Walk[]): Promise<Repairs> {
    const slots = (await this.#execute('repairSlots', [onceInMs])) as [number, number, string];
    const [released, looked, mark] = slots;
    const found = { released, adopted: 0, keys: 0, parked: 0 };
    if (looked === 0) return found;
    found.adopted = await this.#walk(wholeWalk(), 'adoptSlots', ADOPTED_AT_ONCE);
    for (const walk of keyWalks)
      found.keys += await this.#walk(walk, 'repairKeys', LOOKED_AT_ONCE, walk.place);
    // Who changed the limits of `*` is at it, or has died.
    if (mark !== '') await settleAll(this.#execute, mark);
    if (looked > 1) found.parked = await this.#walk(wholeWalk(), 'repairPark', SETTLED_AT_ONCE, onceInMs);
    return found;
  }

  /** @returns how much was mended */
  async #walk(walk: Walk, script: string, atOnce: number, ...more: (string | number)[]): Promise<number> {
    let sum = 0;
    for (let step = 0; step < walk.steps; step++) {
      const reply = await this.#execute(script, [walk.cursor, atOnce, ...more]);
      const [next, mended] = reply as [string | number, number];
      walk.cursor = String(next);
      sum += mended;
      if (walk.cursor === '0') break;
    }
    return sum;
  }
}
