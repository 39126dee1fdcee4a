/** Two labs in which the same is done together and one by one; see batches.property.test.ts. */
import { expect } from '@jest/globals';
import { createFairBackend } from '../../../queues/fair/index.ts';
import type { Program, Step } from './batch-program.ts';
import { OneByOne, Together } from './batch-sides.ts';
import type { Side } from './batch-sides.ts';
import { inLab } from './bullmq-lab.ts';
import { comparable, keyspace } from './comparable.ts';
import { brokenInvariants, fairState } from './keyspace.ts';

/** So many empty queues one pick passes over at the most, and the next one goes on; a batch leaves that to the next call. */
const LOST_AT_MOST = 6;

/**
 * The marker is set when there may be work, once in a while to remind; how often is not the same. That the queue is drained
 * tells who ends a job: on one side it has then also found that the queue of the last group was lost, on the other not yet.
 */
const forgiveWith =
  (isSomethingLost: boolean) =>
  (keys: Record<string, unknown>): void => {
    delete keys[':q:marker'];
    const events = keys[':q:events'];
    if (isSomethingLost && Array.isArray(events))
      keys[':q:events'] = events.filter((event) => event !== 'event drained');
  };

/** The same steps on both sides, compared after each. */
export class Pair {
  readonly #sides: readonly [Together, OneByOne];
  readonly #plainFirst: boolean;
  readonly #lost = new Set<string>();
  #steps = 0;

  constructor(sides: readonly [Together, OneByOne], unprioritized: Program['unprioritized']) {
    this.#sides = sides;
    this.#plainFirst = unprioritized === 'first';
  }

  /** @returns what the batch answered, see {@link Side.step} */
  async step(step: Step): Promise<unknown> {
    if (step.op === 'lose-queue') {
      if (this.#lost.size >= LOST_AT_MOST) return undefined;
      this.#lost.add(step.group);
    }
    this.#steps += 1;
    const context = `step ${this.#steps} ${JSON.stringify(step)}`;
    const [batch, single] = await this.#both((side) => side.step(step));
    expect([context, comparable(batch)]).toEqual([context, comparable(single)]);
    const forgive = forgiveWith(this.#lost.size > 0);
    const [after, expected] = await this.#both((side) => keyspace(side.lab, forgive));
    expect([context, after]).toEqual([context, expected]);
    const [{ lab, base }] = this.#sides;
    const damage = { ghosts: this.#lost, isDrifted: this.#lost.size > 0 };
    const broken = brokenInvariants(await fairState(lab.redis, base), this.#plainFirst, damage);
    expect([context, broken]).toEqual([context, []]);
    return batch;
  }

  /** Everything may start that its group allows, and ends in full batches: until nothing comes, or for a while. */
  async drain(): Promise<void> {
    await this.step({ op: 'resume' });
    await this.step({ op: 'unlimited' });
    await this.step({ op: 'start', count: 20 });
    for (let i = 0; i < 8 && this.#sides[0].activeCount > 0; i += 1) {
      const ends = Array.from({ length: 20 }, () => ({ nth: 0, fetch: true, fault: null }));
      await this.step({ op: 'finish', ends });
    }
  }

  /** How often the batch's queue has told an event. */
  async events(name: string): Promise<number> {
    const told = await this.#sides[0].lab.events();
    return told.filter((event) => event.startsWith(`event ${name}`)).length;
  }

  async #both<T>(of: (side: Side) => Promise<T>): Promise<T[]> {
    return Promise.all(this.#sides.map(of));
  }
}

/** Runs `body` with a pair of its own, and closes it. */
export async function inPair(
  unprioritized: Program['unprioritized'],
  body: (pair: Pair) => Promise<void>,
): Promise<void> {
  const fair = createFairBackend({ unprioritized });
  await inLab(fair, (one) =>
    inLab(fair, async (other) => {
      const sides = [new Together(one), new OneByOne(other)] as const;
      await Promise.all(sides.map((side) => side.ready()));
      await body(new Pair(sides, unprioritized));
    }),
  );
}
