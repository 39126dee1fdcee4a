import { expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import fc from 'fast-check';
import type { FairJobsOptions } from '../../../queues/fair/index.ts';
import { balance } from '../../../queues/overall/balance.ts';
import type { Definition, Shard } from '../../../queues/overall/balance.ts';
import { Shares } from '../../../queues/overall/shares.ts';
import { inLab } from '../fair/bullmq-lab.ts';
import type { Lab } from '../fair/bullmq-lab.ts';
import { HOUR_MS } from '../fair/job-moves.ts';

const RUNS = Number(process.env.FC_RUNS ?? 15);
const SHARDS = 3;

type Operation =
  | { op: 'add'; shard: number; count: number }
  | { op: 'start' | 'finish'; shard: number }
  | { op: 'limit'; max: number }
  /** After so many calls that change something the balancer dies. */
  | { op: 'balance'; diesAfter: number | null };

const shard = fc.nat(SHARDS - 1);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ op: fc.constant('add'), shard, count: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 9, arbitrary: fc.record({ op: fc.constant('start'), shard }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('finish'), shard }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('limit'), max: fc.nat(6) }) },
  {
    weight: 6,
    arbitrary: fc.record({ op: fc.constant('balance'), diesAfter: fc.option(fc.nat(5), { freq: 2 }) }),
  },
);

class Died extends Error {}

/** Some shards, each a prefix of its own, with one queue under one limit. */
class Walk {
  readonly #labs: readonly Lab[];
  readonly #queues: readonly Queue[];
  readonly #workers: readonly Worker[];
  readonly #running: Job[][];
  readonly #kind: 'q' | 't';
  readonly #shares = new Shares(() => (this.#turn += 1000));
  #turn = 0;
  #fence = 0;
  #max = 2;
  /** The most that any limit allows whose round has not been finished. */
  #bound = Infinity;

  constructor(labs: readonly Lab[], kind: 'q' | 't') {
    this.#labs = labs;
    this.#kind = kind;
    this.#queues = labs.map((lab) => lab.queue());
    this.#workers = labs.map((lab) => lab.hand());
    this.#running = labs.map(() => []);
  }

  async step(operation: Operation): Promise<void> {
    switch (operation.op) {
      case 'add':
        for (let i = 0; i < operation.count; i += 1) await this.#queues[operation.shard]?.add('work', {});
        return;
      case 'start':
        return this.#start(operation.shard);
      case 'finish':
        return this.#finish(operation.shard);
      case 'limit':
        // What it was holds until a round has brought it everywhere.
        this.#bound = Math.max(this.#bound, operation.max);
        this.#max = operation.max;
        return;
      case 'balance':
        return this.#balance(operation.diesAfter);
    }
  }

  /** Rounds without accidents: everything that is wanted is given out, and everything runs. */
  async settle(): Promise<void> {
    this.#max = Math.max(this.#max, 1);
    const left = async (): Promise<number> => {
      const counts = await Promise.all(this.#queues.map((queue) => queue.getWaitingCount()));
      return counts.reduce((sum, count) => sum + count, 0) + this.#total();
    };
    for (let round = 0; (await left()) > 0; round += 1) {
      if (round > 200) throw new Error(`${await left()} jobs do not run`);
      await this.#balance(null);
      for (let i = 0; i < SHARDS; i += 1) {
        await this.#start(i);
        await this.#finish(i);
      }
    }
  }

  async #start(shard: number): Promise<void> {
    const job = await this.#workers[shard]?.getNextJob('t', { block: false });
    if (!job) return;
    this.#running[shard]?.push(job);
    expect(this.#total()).toBeLessThanOrEqual(this.#bound);
  }

  async #finish(shard: number): Promise<void> {
    await this.#running[shard]?.shift()?.moveToCompleted('done', 't', false);
  }

  async #balance(diesAfter: number | null): Promise<void> {
    let calls = 0;
    const shards = this.#labs.map((lab, i): Shard => {
      const backend = lab.backend(this.#queues[i] as Queue);
      return {
        changeGates: async (changes, fence) => {
          if (diesAfter !== null && changes && changes.length > 0 && (calls += 1) > diesAfter)
            throw new Died();
          return backend.changeGates(changes, fence);
        },
      };
    });
    const definitions: Definition[] = [
      {
        kind: this.#kind,
        name: this.#kind === 'q' ? 'q' : 'work',
        limits: { maxRunning: this.#max, rate: null },
      },
    ];
    this.#fence += 1;
    const old = Math.max(0, this.#fence - 2);
    try {
      expect(await balance(shards, definitions, this.#fence, this.#shares)).not.toBe('stale');
      this.#bound = this.#max;
    } catch (error) {
      if (!(error instanceof Died)) throw error;
    }
    if (old > 0) expect(await balance(shards.slice(0, 1), definitions, old, new Shares())).toBe('stale');
    await this.#checkClaims();
  }

  /** Whatever happened, nobody has units that another has, or that running jobs take up. */
  async #checkClaims(): Promise<void> {
    let claims = 0;
    for (const [i, lab] of this.#labs.entries()) {
      const [state] = (await lab.backend(this.#queues[i] as Queue).changeGates()) ?? [];
      if (state === undefined) return;
      claims += Math.max(state.m ?? 0, state.run);
    }
    expect(claims).toBeLessThanOrEqual(Math.max(this.#bound, this.#total()));
  }

  #total(): number {
    return this.#running.reduce((sum, jobs) => sum + jobs.length, 0);
  }
}

async function inLabs<T>(count: number, body: (labs: readonly Lab[]) => Promise<T>): Promise<T> {
  return count === 0 ? body([]) : inLab('fair', (lab) => inLabs(count - 1, (labs) => body([lab, ...labs])));
}

test.each(['q', 't'] as const)(
  'all shards together never run more than a limit (%s), wherever a balancer stops',
  async (kind) => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 20, maxLength: 60 }), async (program) => {
        await inLabs(SHARDS, async (labs) => {
          const walk = new Walk(labs, kind);
          await walk.step({ op: 'balance', diesAfter: null });
          for (const each of program) await walk.step(each);
          await walk.settle();
        });
      }),
      { numRuns: RUNS },
    );
  },
  300_000,
);

test('tokens of a rate go where its units go: none is lost, and none is made', async () => {
  await inLabs(SHARDS, async (labs) => {
    const queues = labs.map((lab) => lab.queue());
    const workers = labs.map((lab) => lab.hand());
    const shards = labs.map((lab, i) => lab.backend(queues[i] as Queue));
    const shares = new Shares();
    // One job each ten hours, so that none comes back meanwhile.
    const rate = { limit: 1, periodMs: 10 * HOUR_MS, burst: 7 };
    const definitions: Definition[] = [{ kind: 't', name: 'work', limits: { maxRunning: null, rate } }];
    await balance(shards, definitions, 1, shares);
    // Every shard has some tokens, and the first one all the jobs; later the last one has more of them than there are tokens.
    for (let i = 0; i < 5; i += 1) await queues[0]?.add('work', {});
    const started = labs.map(() => 0);
    for (let round = 0; round < 20; round += 1) {
      for (const [i, worker] of workers.entries()) {
        if (await worker.getNextJob('t', { block: false })) started[i] = (started[i] ?? 0) + 1;
      }
      if (round === 10) for (let i = 0; i < 5; i += 1) await queues[2]?.add('work', {});
      await balance(shards, definitions, 1, shares);
      const states = (await Promise.all(shards.map((each) => each.changeGates()))).map((each) => each?.[0]);
      expect(states.reduce((sum, state) => sum + (state?.a ?? 0), 0)).toBe(7);
      const tokens = states.reduce((sum, state) => sum + (state?.tokens ?? 0), 0);
      const spent = started.reduce((sum, each) => sum + each, 0);
      expect(Math.abs(tokens + spent - 7)).toBeLessThan(0.01);
    }
    expect(started).toEqual([5, 0, 2]);
  });
});

test.each(['q', 't'] as const)(
  'a tenant gets its share under a limit (%s) by its weight, whatever else lives in its shard',
  async (kind) => {
    await inLabs(2, async (labs) => {
      const queues = labs.map((lab) => lab.queue());
      const workers = labs.map((lab) => lab.hand());
      const shards = labs.map((lab, i) => lab.backend(queues[i] as Queue));
      // One tenant alone in its shard; in the other one three, of which one weighs as much as all the others together.
      const homes = [['a'], ['b', 'c', 'd']];
      await shards[1]?.setGroupLimits('d', { weight: 3 });
      for (const [i, tenants] of homes.entries())
        for (const id of tenants)
          await queues[i]?.addBulk(
            Array.from({ length: 150 }, () => ({
              name: 'work',
              data: {},
              opts: { group: { id } } as JobsOptions,
            })),
          );
      let now = 0;
      const shares = new Shares(() => now);
      const limits = { maxRunning: 1, rate: null };
      const definitions: Definition[] = [{ kind, name: kind === 'q' ? 'q' : 'work', limits }];
      const counts: Record<string, number> = {};
      for (let round = 0; round < 120; round += 1) {
        now += 1000;
        await balance(shards, definitions, 1, shares);
        for (const [i, worker] of workers.entries()) {
          // As workers do: looks as long as a marker says so.
          const marker = `${labs[i]?.prefix ?? ''}:q:marker`;
          let job: Job | undefined;
          do {
            await labs[i]?.redis.del(marker);
            job = (await worker.getNextJob('t', { block: false })) as Job | undefined;
          } while (!job && (await labs[i]?.redis.exists(marker)) === 1);
          if (!job) continue;
          const { id } = (job.opts as FairJobsOptions).group ?? { id: '' };
          counts[id] = (counts[id] ?? 0) + 1;
          await job.moveToCompleted('', 't', false);
        }
      }
      const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
      expect(total).toBeGreaterThan(100);
      for (const [id, weight] of Object.entries({ a: 1, b: 1, c: 1, d: 3 })) {
        expect([id, Math.abs((counts[id] ?? 0) - (total * weight) / 6) <= 5]).toEqual([id, true]);
      }
    });
  },
);
