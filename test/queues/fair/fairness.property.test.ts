import { describe, expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import fc from 'fast-check';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';
import { brokenInvariants, fairState } from './keyspace.ts';
import { GroupModel } from './group-model.ts';

const RUNS = Number(process.env.FC_RUNS ?? 20);
const GROUPS = ['', 'a', 'a:b', '*', '[x]', '%d', 'l\nf', '__proto__', 'ünï', '7'];

type Operation =
  | { op: 'add'; group: number; priority: number; lifo: boolean }
  | { op: 'bulk'; group: number; count: number }
  | { op: 'delayed'; group: number; priority: number }
  | { op: 'weight'; group: number; weight: number }
  | { op: 'pick' | 'pause' | 'resume' }
  | {
      op: 'complete' | 'retry' | 'promote' | 'remove' | 'vanish' | 'reprioritize';
      nth: number;
      fetch: boolean;
    };

// Three groups of a program get most of its jobs, so that places inside a group matter.
const group = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(0, 2, 6) },
  fc.nat({ max: GROUPS.length - 1 }),
);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ op: fc.constant('add'), group, priority: fc.nat(3), lifo: fc.boolean() }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('bulk'), group, count: fc.integer({ min: 1, max: 5 }) }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('delayed'), group, priority: fc.nat(2) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('weight'),
      group,
      weight: fc.constantFrom(0.001, 0.3, 1, 3, 1000),
    }),
  },
  { weight: 6, arbitrary: fc.record({ op: fc.constantFrom('pick') }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('pause', 'resume', 'resume') }) },
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constantFrom(
        'complete',
        'complete',
        'complete',
        'retry',
        'promote',
        'remove',
        'vanish',
        'reprioritize',
      ),
      nth: fc.nat(50),
      fetch: fc.boolean(),
    }),
  },
);

/** One queue under test beside its model; every step compares the two. */
class Walk {
  readonly model = new GroupModel();
  readonly #active: Job[] = [];
  readonly #delayed: string[] = [];
  #virtualTime = -Infinity;
  readonly lab: Lab;
  readonly queue: Queue;
  readonly worker: Worker;

  constructor(lab: Lab, queue: Queue, worker: Worker) {
    this.lab = lab;
    this.queue = queue;
    this.worker = worker;
  }

  async step(operation: Operation): Promise<void> {
    switch (operation.op) {
      case 'add': {
        const { priority } = operation;
        const id = GROUPS[operation.group] ?? '';
        const lifo = operation.lifo && priority === 0;
        const job = await this.#add(id, { priority, lifo });
        if (lifo) this.model.addLifo(id, job);
        else this.model.push(id, job, priority, false);
        break;
      }
      case 'bulk': {
        const id = GROUPS[operation.group] ?? '';
        const jobs = await this.queue.addBulk(
          Array.from({ length: operation.count }, () => ({ name: 'j', data: {}, opts: optionsOf(id) })),
        );
        for (const job of jobs) this.model.push(id, job.id ?? '', 0, false);
        break;
      }
      case 'delayed': {
        const id = GROUPS[operation.group] ?? '';
        const job = await this.#add(id, { priority: operation.priority, delay: 1_000_000 });
        this.#delayed.push(job);
        this.model.later(id, job, operation.priority);
        break;
      }
      case 'weight':
        await this.lab
          .backend(this.queue)
          .setGroupLimits(GROUPS[operation.group] ?? '', { weight: operation.weight });
        break;
      case 'pick':
        this.#picked((await this.worker.getNextJob('t', { block: false })) as Job | undefined);
        break;
      case 'pause':
        await this.queue.pause();
        this.model.paused = true;
        break;
      case 'resume':
        await this.queue.resume();
        this.model.paused = false;
        break;
      case 'complete': {
        const job = take(this.#active, operation.nth);
        if (!job) break;
        const next = await job.moveToCompleted('done', 't', operation.fetch);
        if (operation.fetch) this.#fetched(next);
        break;
      }
      case 'retry': {
        const job = take(this.#active, operation.nth);
        if (!job) break;
        if (this.model.isVanished(job.id ?? '')) {
          await job.moveToCompleted('done', 't', false);
          break;
        }
        await job.moveToFailed(new Error('again'), 't', false);
        this.model.again(job.id ?? '');
        break;
      }
      case 'promote': {
        const id = take(this.#delayed, operation.nth);
        if (!id) break;
        await (await this.queue.getJob(id))?.promote();
        this.model.again(id);
        break;
      }
      case 'remove': {
        const id = this.model.nthWaiting(operation.nth);
        if (!id || this.model.isVanished(id)) break;
        expect(await this.queue.remove(id)).toBe(1);
        this.model.remove(id);
        break;
      }
      case 'vanish': {
        const id = this.model.nthWaiting(operation.nth);
        if (!id) break;
        await this.lab.redis.del(this.lab.backend(this.queue).toKey(id));
        this.model.vanish(id);
        break;
      }
      case 'reprioritize': {
        const id = this.model.nthWaiting(operation.nth);
        if (!id || this.model.isVanished(id)) break;
        // The only waiting job leaves and comes back in one script: the ring was empty, a new period begins.
        if (this.model.waiting === 1) this.#virtualTime = -Infinity;
        const priority = operation.nth % 4;
        const lifo = operation.fetch;
        await (await this.queue.getJob(id))?.changePriority({ priority, lifo });
        this.model.reprioritize(id, priority, lifo);
        break;
      }
    }
    await this.#check(operation);
  }

  async #add(id: string, opts: JobsOptions): Promise<string> {
    return (await this.queue.add('j', {}, { ...optionsOf(id), ...opts })).id ?? '';
  }

  #picked(job: Job | undefined): void {
    if (!job) {
      expect(this.model.paused || this.model.waiting === 0).toBe(true);
      return;
    }
    expect(this.model.paused).toBe(false);
    this.model.pick(job.id ?? '');
    this.#active.push(job);
  }

  #fetched(next: unknown): void {
    const [fields, id] = Array.isArray(next)
      ? (next as [Record<string, string>, string])
      : [undefined, undefined];
    if (!id || !fields) return this.#picked(undefined);
    this.#picked(this.worker['createJob'](fields as never, id));
  }

  async #check(after: Operation): Promise<void> {
    const base = this.lab.backend(this.queue).toKey('');
    const state = await fairState(this.lab.redis, base);
    const context = `after ${JSON.stringify(after)}`;
    expect([context, brokenInvariants(state)]).toEqual([context, []]);
    const orders = Object.fromEntries(
      [...state.groups].map(([id, jobs]) => [`group ${id}`, jobs.map((job) => job.id)]),
    );
    expect([context, orders]).toEqual([context, this.model.orders()]);

    const counts = await this.queue.getJobCounts('wait', 'prioritized');
    expect([context, counts]).toEqual([context, this.model.counts()]);

    const lowest = state.ring[0]?.tag ?? -Infinity;
    expect(lowest === -Infinity || lowest >= this.#virtualTime).toBe(true);
    this.#virtualTime = lowest;

    // BullMQ sets the marker when a pick leaves work behind, so only a paused queue may wait without one.
    if (this.model.waiting > 0 && !this.model.paused) {
      const marked = await this.lab.redis.exists(`${base}marker`);
      expect([context, marked]).toEqual([context, 1]);
    }
  }
}

const optionsOf = (id: string): JobsOptions => ({ attempts: 50, ...(id === '' ? {} : { group: { id } }) });

function take<T>(list: T[], nth: number): T | undefined {
  return list.length === 0 ? undefined : list.splice(nth % list.length, 1)[0];
}

test('random programs keep every invariant and the order of the model', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 40 }), async (program) => {
      await inLab('fair', async (lab) => {
        const walk = new Walk(lab, lab.queue(), lab.hand());
        for (const step of program) await walk.step(step);
      });
    }),
    { numRuns: RUNS },
  );
});

/** Adds `count` plain jobs to each group, all named after it. */
async function backlog(queue: Queue, groups: string[], count: number): Promise<void> {
  for (const id of groups) {
    await queue.addBulk(Array.from({ length: count }, () => ({ name: id, data: {}, opts: optionsOf(id) })));
  }
}

async function pick(worker: Worker): Promise<string | undefined> {
  return ((await worker.getNextJob('t', { block: false })) as Job | undefined)?.name;
}

describe('shares', () => {
  test('of backlogged groups stay within the bound at any moment and over any stretch', async () => {
    const weights = fc.constantFrom(0.2, 0.5, 1, 1.5, 2, 3, 7);
    await fc.assert(
      fc.asyncProperty(
        fc.array(weights, { minLength: 2, maxLength: 6 }),
        fc.nat(60),
        async (chosen, from) => {
          await inLab('fair', async (lab) => {
            const queue = lab.queue();
            const worker = lab.hand();
            const groups = chosen.map((_, i) => `g${i}`);
            for (const [i, weight] of chosen.entries())
              await lab.backend(queue).setGroupLimits(`g${i}`, { weight });
            await backlog(queue, groups, 120);
            const served = new Map<string, number>(groups.map((id) => [id, 0]));
            let start = new Map(served);
            for (let picks = 0; picks < 119; picks++) {
              if (picks === from) start = new Map(served);
              const name = (await pick(worker)) ?? '';
              served.set(name, (served.get(name) ?? 0) + 1);
              expectWithinBound(served, new Map(), groups, chosen);
              if (picks >= from) expectWithinBound(served, start, groups, chosen);
            }
          });
        },
      ),
      { numRuns: Math.ceil(RUNS / 4) },
    );
  });

  test('a group that comes back whenever that pays gets no more than its share', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const worker = lab.hand();
      const base = lab.backend(queue).toKey('');
      const steady = Array.from({ length: 20 }, (_, i) => `s${i}`);
      // Different weights spread the tags, so that the virtual time moves in small steps.
      for (const [i, id] of steady.entries())
        await lab.backend(queue).setGroupLimits(id, { weight: 0.7 + i * 0.031 });
      await backlog(queue, steady, 45);
      for (let i = 0; i < 60; i++) await pick(worker);
      const virtualTime = async () => (await fairState(lab.redis, base)).ring[0]?.tag ?? 0;
      const from = await virtualTime();
      let [tricky, now] = [0, from];
      while (now < from + 20) {
        // It knows the virtual time, and shows up the moment its finish tag is forgotten or passed.
        const state = await fairState(lab.redis, base);
        now = state.ring[0]?.tag ?? 0;
        if (!('tricky' in state.idx) && now >= (state.fin.get('tricky') ?? -Infinity)) {
          await backlog(queue, ['tricky'], 1);
        }
        if ((await pick(worker)) === 'tricky') tricky++;
      }
      // A group of weight 1 that never leaves is served once in one unit of virtual time.
      expect(tricky).toBeLessThanOrEqual(Math.ceil(now - from) + 2);
    });
  });

  test('a group with one job at a time gets its share and no more', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const worker = lab.hand();
      await backlog(queue, ['s0', 's1', 's2'], 60);
      let [single, others] = [0, 0];
      await backlog(queue, ['single'], 1);
      while (others < 150) {
        if ((await pick(worker)) === 'single') {
          single++;
          await backlog(queue, ['single'], 1);
        } else others++;
      }
      expect(single).toBeGreaterThanOrEqual(48);
      expect(single).toBeLessThanOrEqual(52);
    });
  });

  test('a newcomer among thousands does not wait a whole round', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const worker = lab.hand();
      const crowd = Array.from({ length: 2000 }, (_, i) => `c${i}`);
      for (let round = 0; round < 3; round++) {
        await queue.addBulk(crowd.map((id) => ({ name: id, data: {}, opts: optionsOf(id) })));
      }
      for (let i = 0; i < 2300; i++) await pick(worker);
      await backlog(queue, ['newcomer'], 1);
      let waited = 0;
      while ((await pick(worker)) !== 'newcomer') waited++;
      expect(waited).toBeLessThan(200);
    });
  });

  test('a raised weight counts from the next pick on', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const worker = lab.hand();
      await lab.backend(queue).setGroupLimits('slow', { weight: 0.01 });
      await backlog(queue, ['slow', 'fast'], 100);
      for (let i = 0; i < 10; i++) await pick(worker);
      await lab.backend(queue).setGroupLimits('slow', { weight: 1 });
      let slow = 0;
      for (let i = 0; i < 40; i++) slow += (await pick(worker)) === 'slow' ? 1 : 0;
      expect(slow).toBeGreaterThanOrEqual(15);
    });
  });
});

function expectWithinBound(
  served: Map<string, number>,
  start: Map<string, number>,
  groups: string[],
  weights: number[],
): void {
  const work = groups.map((id, i) => ((served.get(id) ?? 0) - (start.get(id) ?? 0)) / (weights[i] ?? 1));
  for (let i = 0; i < groups.length; i++) {
    for (let j = 0; j < i; j++) {
      const bound = 2 * (1 / (weights[i] ?? 1) + 1 / (weights[j] ?? 1));
      expect(Math.abs((work[i] ?? 0) - (work[j] ?? 0))).toBeLessThanOrEqual(bound + 1e-9);
    }
  }
}
