import { expect, test } from '@jest/globals';
import type { Job, Queue, Worker } from 'bullmq';
import fc from 'fast-check';
import { createFairBackend } from '../../../queues/fair/index.ts';
import type { GateChange } from '../../../queues/fair/index.ts';
import { inLab, withoutLean } from './bullmq-lab.ts';
import type { Flavour, Lab } from './bullmq-lab.ts';
import { GateModel } from './gate-model.ts';
import { HOUR_MS, handBack, postpone, retry, stall, vanish } from './job-moves.ts';
import { brokenInvariants, fairStateOf, pairs, snapshot } from './keyspace.ts';

const RUNS = Number(process.env.FC_RUNS ?? 12);
const QUEUES = ['one', 'two'];
const GROUPS = ['a', 'b:c', 'l\nf*', ''];
const TASKS = ['echo', 'video', 'z:é"\\'];

type Move = 'retry' | 'delay' | 'stall' | 'vanish' | 'promote' | 'remove' | 'hand-back';
type Operation =
  | { op: 'add'; queue: number; group: number; task: number; count: number }
  | { op: 'pick'; queue: number }
  | { op: 'complete'; nth: number; fetch: boolean }
  | { op: Move; nth: number }
  | {
      op: 'gate';
      kind: 'q' | 't';
      name: number;
      gate: { max: number | null; rate: { depth: number; of: number; tokens: number } | null } | null;
    }
  | { op: 'limit'; group: number; maxRunning: number | null }
  | { op: 'pause' | 'resume'; group: number }
  | { op: 'pause-queue' | 'resume-queue' | 'drain' | 'repair'; queue: number };

const queue = fc.nat(QUEUES.length - 1);
const group = fc.nat(GROUPS.length - 1);
const nth = fc.nat(30);
const weighed = (weight: number, shape: Record<string, unknown>): { weight: number; arbitrary: never } => ({
  weight,
  arbitrary: fc.record(
    Object.fromEntries(
      Object.entries(shape).map(([name, part]) => [
        name,
        typeof part === 'string' ? fc.constant(part) : (part as never),
      ]),
    ),
  ) as never,
});
const rate = fc
  .record({ of: fc.integer({ min: 1, max: 4 }), part: fc.nat(4), tokens: fc.nat(4) })
  .map(({ of, part, tokens }) => ({ of, depth: Math.min(of, part), tokens: Math.min(tokens, of, part) }));
const operation = fc.oneof(
  weighed(9, {
    op: 'add',
    queue,
    group,
    task: fc.nat(TASKS.length - 1),
    count: fc.integer({ min: 1, max: 3 }),
  }),
  weighed(12, { op: 'pick', queue }),
  weighed(7, { op: 'complete', nth, fetch: fc.boolean() }),
  weighed(6, {
    op: fc.constantFrom('retry', 'delay', 'stall', 'vanish', 'promote', 'remove', 'hand-back'),
    nth,
  }),
  weighed(6, {
    op: 'gate',
    kind: fc.constantFrom('q', 't', 't'),
    name: fc.nat(2),
    gate: fc.option(
      fc.record({
        max: fc.constantFrom(null, 0, 1, 2, 3),
        rate: fc.option(rate, { freq: 2 }),
      }),
      { freq: 4 },
    ),
  }),
  weighed(2, { op: 'limit', group, maxRunning: fc.constantFrom(null, 0, 1, 2) }),
  weighed(1, { op: fc.constantFrom('pause', 'resume'), group }),
  weighed(1, { op: fc.constantFrom('pause-queue', 'resume-queue', 'drain', 'repair'), queue }),
) as fc.Arbitrary<Operation>;

/** Two queues of one prefix beside their model; every step compares the two. */
class Walk {
  readonly #lab: Lab;
  readonly #model = new GateModel();
  readonly #queues: Record<string, Queue>;
  readonly #workers: Record<string, Worker>;
  readonly #running = new Map<string, Job>();
  #fence = 0;

  constructor(lab: Lab) {
    this.#lab = lab;
    this.#queues = Object.fromEntries(QUEUES.map((name) => [name, lab.queue(name)]));
    this.#workers = Object.fromEntries(QUEUES.map((name) => [name, lab.hand(name)]));
  }

  async step(operation: Operation): Promise<void> {
    const context = `after ${JSON.stringify(operation)}`;
    const idle = QUEUES.filter((name) => this.#model.eligible(name).length === 0);
    // As a worker does that takes the marker: it looks, and finds nothing.
    for (const name of idle) {
      const taken = await this.#lab.redis.del(`${this.#lab.prefix}:${name}:marker`);
      if (taken > 0) await this.#pick(name);
    }
    await this.#perform(operation);
    await this.#check(context);
    for (const name of idle) {
      if (this.#model.eligible(name).length === 0) continue;
      const marker = await this.#lab.redis.zscore(`${this.#lab.prefix}:${name}:marker`, '0');
      expect([context, name, marker]).toEqual([context, name, '0']);
    }
  }

  /** Everything opens and ends; nothing may be left. */
  async drain(): Promise<void> {
    for (const kind of ['q', 't'] as const) {
      for (let name = 0; name < 3; name += 1) await this.step({ op: 'gate', kind, name, gate: null });
    }
    for (let each = 0; each < GROUPS.length; each += 1) {
      await this.step({ op: 'limit', group: each, maxRunning: null });
    }
    for (const [each, name] of QUEUES.entries()) {
      await this.step({ op: 'resume-queue', queue: each });
      while (this.#model.in('delayed').length > 0) await this.step({ op: 'promote', nth: 0 });
      while (this.#model.in('waiting', name).length > 0) await this.step({ op: 'pick', queue: each });
    }
    while (this.#model.in('active').length > 0) await this.step({ op: 'complete', nth: 0, fetch: false });
    const left = await snapshot(this.#lab.redis, this.#lab.prefix);
    const fair = [...left.keys()].filter((key) => /:fair:(?!queues|gates|limits|repaired)/.test(key));
    expect(fair).toEqual([]);
  }

  async #perform(operation: Operation): Promise<void> {
    const model = this.#model;
    switch (operation.op) {
      case 'add':
        return this.#add(operation);
      case 'pick':
        return this.#pick(QUEUES[operation.queue] ?? '');
      case 'complete':
        return this.#complete(operation.nth, operation.fetch);
      case 'gate':
        return this.#setGate(operation);
      case 'limit':
        await this.#admin().setGroupLimits(GROUPS[operation.group] ?? '', {
          maxRunning: operation.maxRunning,
        });
        return model.limit(GROUPS[operation.group] ?? '', operation.maxRunning);
      case 'pause':
      case 'resume':
        if (operation.op === 'pause') await this.#admin().pauseGroup(GROUPS[operation.group] ?? '');
        else await this.#admin().resumeGroup(GROUPS[operation.group] ?? '');
        return model.pause(GROUPS[operation.group] ?? '', operation.op === 'pause');
      case 'pause-queue':
      case 'resume-queue':
      case 'drain':
      case 'repair':
        return this.#changeQueue(operation.op, QUEUES[operation.queue] ?? '');
      default:
        return this.#move(operation.op, operation.nth);
    }
  }

  async #add({ queue: at, group: of, task, count }: Operation & { op: 'add' }): Promise<void> {
    const [name = '', id = '', job = ''] = [QUEUES[at], GROUPS[of], TASKS[task]];
    const opts = { attempts: 50, ...(id === '' ? {} : { group: { id } }) };
    for (let i = 0; i < count; i += 1) {
      const added = await this.#queue(name).add(job, {}, opts);
      this.#model.add(`${name} ${added.id}`, name, id, job);
    }
  }

  async #pick(name: string): Promise<void> {
    this.#picked(name, (await this.#worker(name).getNextJob('t', { block: false })) as Job | undefined);
  }

  #picked(name: string, job: Job | undefined): void {
    if (!job) {
      expect(this.#model.eligible(name)).toEqual([]);
      return;
    }
    this.#model.start(`${name} ${job.id}`);
    this.#running.set(`${name} ${job.id}`, job);
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

  async #setGate({ kind, name: index, gate }: Operation & { op: 'gate' }): Promise<void> {
    const name = (kind === 'q' ? QUEUES : TASKS)[index % (kind === 'q' ? QUEUES : TASKS).length] ?? '';
    const change = gateChange(kind, name, gate);
    this.#fence += 1;
    const states = await this.#admin().changeGates([change], this.#fence);
    this.#model.setGate(kind, name, gate);
    expect(await this.#admin().changeGates([change], this.#fence - 1)).toBeNull();
    const state = states?.find((each) => each.kind === kind && each.name === name);
    expect(state === undefined).toBe(gate === null);
    if (!state) return;
    expect(state.run).toBe(this.#model.running(kind, name).length);
    expect(state.tokens).toBeCloseTo(this.#model.gate(kind, name)?.tokens ?? 0, 2);
  }

  async #changeQueue(op: 'pause-queue' | 'resume-queue' | 'drain' | 'repair', name: string): Promise<void> {
    const target = this.#queue(name);
    if (op === 'pause-queue') {
      await target.pause();
      this.#model.pausedQueues.add(name);
    } else if (op === 'resume-queue') {
      await target.resume();
      this.#model.pausedQueues.delete(name);
    } else if (op === 'drain') {
      await target.drain();
      for (const { id } of this.#model.in('waiting', name)) this.#model.jobs.delete(id);
    } else {
      expect(await this.#lab.backend(target).repairSlots()).toEqual({
        released: 0,
        adopted: 0,
        keys: 0,
        parked: 0,
      });
    }
  }

  async #move(op: Move, nth: number): Promise<void> {
    const state = { promote: 'delayed', remove: 'waiting' } as const;
    const found = this.#model.nth(op === 'promote' || op === 'remove' ? state[op] : 'active', nth);
    if (!found) return;
    const { id, queue: name } = found;
    const bullId = id.slice(name.length + 1);
    const worker = this.#worker(name);
    switch (op) {
      case 'retry':
        await retry(this.#take(id), 't');
        return this.#model.again(id, false);
      case 'hand-back':
        await handBack(this.#lab, worker, this.#take(id), 't');
        return this.#model.again(id, true);
      case 'delay':
        await postpone(this.#take(id), 't');
        found.state = 'delayed';
        return;
      case 'stall':
        await stall(this.#lab, worker, this.#take(id));
        return this.#model.again(id, true);
      case 'vanish':
        await vanish(this.#lab, worker, this.#take(id));
        this.#model.jobs.delete(id);
        return;
      case 'promote':
        await (await this.#queue(name).getJob(bullId))?.promote();
        return this.#model.again(id, false);
      case 'remove':
        expect(await this.#queue(name).remove(bullId)).toBe(1);
        this.#model.jobs.delete(id);
        return;
    }
  }

  async #check(context: string): Promise<void> {
    for (const name of QUEUES) {
      const base = `${this.#lab.prefix}:${name}:`;
      const keys = await snapshot(this.#lab.redis, `${base}fair:`);
      expect([context, name, brokenInvariants(fairStateOf(keys, base))]).toEqual([context, name, []]);
      const hash = (of: string): Record<string, string> =>
        Object.fromEntries(pairs(keys.get(`${base}fair:${of}`)?.content ?? []));
      const counts = { at: {} as Record<string, string>, ag: {} as Record<string, string> };
      for (const id of Object.keys(hash('aj'))) {
        const { task, group: of } = this.#model.job(`${name} ${id}`);
        counts.at[task] = String(Number(counts.at[task] ?? 0) + 1);
        counts.ag[of] = String(Number(counts.ag[of] ?? 0) + 1);
      }
      expect([context, name, hash('at'), hash('ag')]).toEqual([context, name, counts.at, counts.ag]);
      const waiting = this.#model.in('waiting', name).map((job) => job.id.slice(name.length + 1));
      const queue = this.#queue(name);
      const [listed, count, counted] = await Promise.all([
        queue.getJobs(['waiting'], 0, -1),
        queue.getWaitingCount(),
        Promise.all(GROUPS.map((id) => this.#admin(name).countGroup(id))),
      ]);
      expect([context, listed.map((job) => job.id).sort()]).toEqual([context, waiting.sort()]);
      expect([context, count]).toEqual([context, waiting.length]);
      for (const [nth, id] of GROUPS.entries()) {
        const mine = this.#model.in('waiting', name).filter((job) => job.group === id);
        expect([context, id, counted[nth]?.waiting]).toEqual([context, id, mine.length]);
      }
    }
    const held = await Promise.all(
      TASKS.map((task) => this.#lab.redis.smembers(`${this.#lab.prefix}::fair:gate:${task}`)),
    );
    for (const [nth, task] of TASKS.entries()) {
      const members = held[nth] ?? [];
      const running = this.#model.gate('t', task) ? this.#model.running('t', task) : [];
      expect([context, task, members.sort()]).toEqual([
        context,
        task,
        running.map((job) => job.id.replace(' ', ':')).sort(),
      ]);
    }
  }

  #take(id: string): Job {
    const job = this.#running.get(id);
    if (!job) throw new Error(`${id} does not run`);
    this.#running.delete(id);
    return job;
  }

  #queue(name: string): Queue {
    return this.#queues[name] as Queue;
  }

  #worker(name: string): Worker {
    return this.#workers[name] as Worker;
  }

  #admin(name = 'one'): ReturnType<Lab['backend']> {
    return this.#lab.backend(this.#queue(name));
  }
}

/** One token in hours, so that none comes back in a test. */
function gateChange(kind: 'q' | 't', name: string, gate: (Operation & { op: 'gate' })['gate']): GateChange {
  if (gate === null) return { kind, name, gone: true };
  const { max, rate: part } = gate;
  return {
    kind,
    name,
    ...(max === null ? {} : { m: max }),
    ...(part === null ? {} : { e: 4 * HOUR_MS * 1000, b: part.of, a: part.depth, tokens: part.tokens }),
  };
}

const plodding = createFairBackend();
const FLAVOURS: Record<string, Flavour | typeof plodding> = {
  'lean scripts': 'fair',
  "BullMQ's scripts": (...args) => withoutLean(plodding(...args)),
};

test.each(Object.entries(FLAVOURS))(
  'no gate is passed that is closed, and nothing else is held by it: %s',
  async (_, flavour) => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 10, maxLength: 60 }), async (program) => {
        await inLab(flavour, async (lab) => {
          const walk = new Walk(lab);
          for (const each of program) await walk.step(each);
          await walk.drain();
        });
      }),
      { numRuns: RUNS },
    );
  },
  300_000,
);
