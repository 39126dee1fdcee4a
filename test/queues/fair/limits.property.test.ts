import { expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import fc from 'fast-check';
import type { GroupLimits } from '../../../queues/fair/group-limits.ts';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';
import { HOUR_MS, handBack, postpone, retry, stall, vanish } from './job-moves.ts';
import { brokenInvariants, fairState } from './keyspace.ts';
import { LimitModel } from './limit-model.ts';

const RUNS = Number(process.env.FC_RUNS ?? 20);
const QUEUES = ['one', 'two'];
const GROUPS = ['a', 'b:c', 'l\nf*', ''];

type Operation =
  | { op: 'add'; queue: number; group: number; count: number }
  | { op: 'pick'; queue: number }
  | { op: 'complete'; nth: number; fetch: boolean }
  | { op: 'retry' | 'delay' | 'stall' | 'vanish' | 'promote' | 'remove' | 'hand-back'; nth: number }
  | { op: 'limit'; group: number; limits: GroupLimits | null }
  | { op: 'pause' | 'resume'; group: number };

const limits: fc.Arbitrary<GroupLimits> = (() => {
  const maxRunning = fc.constantFrom(null, 0, 1, 2, 3);
  const rate = fc.oneof(
    { weight: 1, arbitrary: fc.constant(null) },
    {
      weight: 1,
      arbitrary: fc.record({
        limit: fc.constantFrom(1, 4),
        periodMs: fc.constant(4 * HOUR_MS),
        burst: fc.integer({ min: 1, max: 2 }),
      }),
    },
  );
  const one = { maxRunning, rate, weight: fc.constantFrom(0.5, 1, 3) };
  const inQueue = fc.record(one, { requiredKeys: [] });
  return fc.record(
    {
      ...one,
      paused: fc.constantFrom(false, false, true),
      queues: fc.record({ one: inQueue, two: inQueue }, { requiredKeys: [] }),
    },
    { requiredKeys: [] },
  );
})();

const queue = fc.nat(QUEUES.length - 1);
const group = fc.nat(GROUPS.length - 1);
const nth = fc.nat(30);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ op: fc.constant('add'), queue, group, count: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 9, arbitrary: fc.record({ op: fc.constant('pick'), queue }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('complete'), nth, fetch: fc.boolean() }) },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constantFrom('retry', 'delay', 'stall', 'vanish', 'promote', 'remove', 'hand-back'),
      nth,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('limit'),
      // The last one is `*`.
      group: fc.nat(GROUPS.length),
      limits: fc.option(limits, { freq: 5 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constantFrom('pause', 'resume'), group: fc.nat(GROUPS.length) }),
  },
);

const nameOf = (index: number): string => GROUPS[index] ?? '*';

/** Two queues of one prefix beside their model; every step compares the two. */
class Walk {
  readonly #lab: Lab;
  readonly #model = new LimitModel();
  readonly #queues: Record<string, Queue>;
  readonly #workers: Record<string, Worker>;
  readonly #running = new Map<string, Job>();

  constructor(lab: Lab) {
    this.#lab = lab;
    this.#queues = Object.fromEntries(QUEUES.map((name) => [name, lab.queue(name)]));
    this.#workers = Object.fromEntries(QUEUES.map((name) => [name, lab.hand(name)]));
  }

  async step(operation: Operation): Promise<void> {
    switch (operation.op) {
      case 'add':
        await this.#add(QUEUES[operation.queue] ?? '', nameOf(operation.group), operation.count);
        break;
      case 'pick':
        await this.#pick(QUEUES[operation.queue] ?? '');
        break;
      case 'complete':
        await this.#complete(operation.nth, operation.fetch);
        break;
      case 'limit':
        await this.#admin().setGroupLimits(nameOf(operation.group), operation.limits);
        this.#model.setLimits(nameOf(operation.group), operation.limits);
        break;
      case 'pause':
        await this.#admin().pauseGroup(nameOf(operation.group));
        this.#model.pause(nameOf(operation.group), true);
        break;
      case 'resume':
        await this.#admin().resumeGroup(nameOf(operation.group));
        this.#model.pause(nameOf(operation.group), false);
        break;
      default:
        await this.#move(operation.op, operation.nth);
    }
    await this.#check(operation);
  }

  async #add(queue: string, group: string, count: number): Promise<void> {
    const opts: JobsOptions = { attempts: 50, ...(group === '' ? {} : { group: { id: group } }) };
    for (let i = 0; i < count; i += 1) {
      const job = await this.#queue(queue).add('j', {}, opts);
      this.#model.add(`${queue} ${job.id}`, queue, group);
    }
  }

  async #pick(queue: string): Promise<void> {
    const job: Job | undefined = await this.#worker(queue).getNextJob('t', { block: false });
    this.#picked(queue, job);
  }

  #picked(queue: string, job: Job | undefined): void {
    if (!job) {
      expect(this.#model.waiting(queue).may).toEqual([]);
      return;
    }
    this.#model.start(`${queue} ${job.id}`);
    this.#running.set(`${queue} ${job.id}`, job);
  }

  async #complete(nth: number, fetch: boolean): Promise<void> {
    const found = this.#model.nth('active', nth);
    if (!found) return;
    const job = this.#take(found.id);
    const next = await job.moveToCompleted('done', 't', fetch);
    this.#model.jobs.delete(found.id);
    if (!fetch) return;
    const [fields, id] = Array.isArray(next) ? (next as [never, string]) : [];
    this.#picked(found.queue, id && fields ? this.#worker(found.queue)['createJob'](fields, id) : undefined);
  }

  async #move(
    op: 'retry' | 'delay' | 'stall' | 'vanish' | 'promote' | 'remove' | 'hand-back',
    nth: number,
  ): Promise<void> {
    const state = { promote: 'delayed', remove: 'waiting' } as const;
    const found = this.#model.nth(op === 'promote' || op === 'remove' ? state[op] : 'active', nth);
    if (!found) return;
    const { id, queue } = found;
    const bullId = id.slice(queue.length + 1);
    const worker = this.#worker(queue);
    switch (op) {
      case 'retry':
        await retry(this.#take(id), 't');
        this.#model.again(id, false);
        break;
      case 'hand-back':
        await handBack(this.#lab, worker, this.#take(id), 't');
        this.#model.again(id, true);
        break;
      case 'delay':
        await postpone(this.#take(id), 't');
        this.#model.delay(id);
        break;
      case 'stall':
        await stall(this.#lab, worker, this.#take(id));
        this.#model.again(id, true);
        break;
      case 'vanish':
        expect(await vanish(this.#lab, worker, this.#take(id))).toEqual({
          released: found.slot ? 1 : 0,
          adopted: 0,
          keys: 0,
          parked: 0,
        });
        this.#model.jobs.delete(id);
        break;
      case 'promote':
        await (await this.#queue(queue).getJob(bullId))?.promote();
        this.#model.again(id, false);
        break;
      case 'remove':
        expect(await this.#queue(queue).remove(bullId)).toBe(1);
        this.#model.jobs.delete(id);
        break;
    }
  }

  async #check(after: Operation): Promise<void> {
    const context = `after ${JSON.stringify(after)}`;
    for (const name of QUEUES) {
      const base = `${this.#lab.prefix}:${name}:`;
      const state = await fairState(this.#lab.redis, base);
      expect([context, name, brokenInvariants(state)]).toEqual([context, name, []]);
      const { may, mayNot } = this.#model.waiting(name);
      const found = {
        ring: state.ring.map((entry) => entry.group).sort(),
        park: [...state.park.keys()].sort(),
      };
      expect([context, name, found]).toEqual([context, name, { ring: may, park: mayNot }]);
      for (const group of [...may, ...mayNot]) {
        const order = state.groups.get(group)?.map((job) => `${name} ${job.id}`);
        expect([context, name, group, order]).toEqual([context, name, group, this.#model.order(name, group)]);
      }
      if (may.length > 0)
        expect([context, await this.#lab.redis.zscore(`${base}marker`, '0')]).toEqual([context, '0']);
    }
    await this.#checkSlots(context);
  }

  async #checkSlots(context: string): Promise<void> {
    const slots = this.#model.slots();
    const stored = await this.#lab.redis.hgetall(`${this.#lab.prefix}::fair:slots`);
    const renamed = Object.fromEntries(
      Object.entries(slots).map(([field, group]) => [field.replace(/:\w+ /, ':'), group]),
    );
    expect([context, stored]).toEqual([context, renamed]);
    for (const group of GROUPS) {
      const use = await this.#lab.redis.hgetall(`${this.#lab.prefix}::fair:state:${group}`);
      const held = Object.values(slots).filter((each) => each === group).length;
      expect([context, group, Number(use['run'] ?? 0)]).toEqual([context, group, held]);
      const waits = QUEUES.filter((name) => this.#model.order(name, group).length > 0);
      for (const name of QUEUES.filter((each) => `w:${each}` in use || this.#model.isLimited(each, group))) {
        expect([context, group, name, `w:${name}` in use]).toEqual([
          context,
          group,
          name,
          waits.includes(name),
        ]);
      }
    }
  }

  #admin(): ReturnType<Lab['backend']> {
    return this.#lab.backend(this.#queue('one'));
  }

  #queue(name: string): Queue {
    const queue = this.#queues[name];
    if (!queue) throw new Error(`${name} is no queue of this walk`);
    return queue;
  }

  #worker(name: string): Worker {
    const worker = this.#workers[name];
    if (!worker) throw new Error(`${name} has no worker in this walk`);
    return worker;
  }

  #take(id: string): Job {
    const job = this.#running.get(id);
    if (!job) throw new Error(`${id} does not run`);
    this.#running.delete(id);
    return job;
  }
}

test('random programs never break a limit, and hold nothing back that may run', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 50 }), async (program) => {
      await inLab('fair', async (lab) => {
        const walk = new Walk(lab);
        for (const step of program) await walk.step(step);
      });
    }),
    { numRuns: RUNS },
  );
});
