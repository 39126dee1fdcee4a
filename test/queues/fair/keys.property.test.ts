import { expect, test } from '@jest/globals';
import { UnrecoverableError } from 'bullmq';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import fc from 'fast-check';
import type { FairJobsOptions } from '../../../queues/fair/index.ts';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';
import { HOUR_MS, handBack, postpone, retry, stall, vanish } from './job-moves.ts';
import { KeyModel } from './key-model.ts';
import { brokenInvariants, fairState } from './keyspace.ts';

const RUNS = Number(process.env.FC_RUNS ?? 20);
const GROUPS = ['a', 'b:1', ''];
/** '' = no key; the last one lets two run. */
const KEYS = ['', 'k', ':k\n', 'two'];

type Operation =
  | { op: 'add' | 'delayed' | 'reject'; group: number; key: number }
  | { op: 'pick' | 'drain' }
  | { op: 'complete'; nth: number; fetch: boolean }
  | {
      op:
        'fail' | 'retry' | 'delay' | 'stall' | 'hand-back' | 'promote' | 'remove' | 'vanish' | 'reprioritize';
      nth: number;
    };

const group = fc.nat(GROUPS.length - 1);
const key = fc.nat(KEYS.length - 1);
const nth = fc.nat(30);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.record({ op: fc.constantFrom('add', 'add', 'add', 'delayed', 'reject'), group, key }),
  },
  {
    weight: 7,
    arbitrary: fc.record({
      op: fc.constantFrom('pick', 'pick', 'pick', 'pick', 'pick', 'pick', 'pick', 'drain'),
    }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('complete'), nth, fetch: fc.boolean() }) },
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constantFrom(
        'fail',
        'retry',
        'delay',
        'stall',
        'hand-back',
        'promote',
        'remove',
        'vanish',
        'reprioritize',
      ),
      nth,
    }),
  },
);

const limitOf = (name: string): number => (name === 'two' ? 2 : 1);

class Walk {
  readonly #lab: Lab;
  readonly #model = new KeyModel();
  readonly #queue: Queue;
  readonly #worker: Worker;
  readonly #running = new Map<string, Job>();

  constructor(lab: Lab) {
    this.#lab = lab;
    this.#queue = lab.queue();
    this.#worker = lab.hand();
  }

  async step(operation: Operation): Promise<void> {
    switch (operation.op) {
      case 'add':
      case 'delayed':
      case 'reject':
        await this.#add(operation.op, GROUPS[operation.group] ?? '', KEYS[operation.key] ?? '');
        break;
      case 'pick':
        this.#picked(await this.#worker.getNextJob('t', { block: false }));
        break;
      case 'drain':
        await this.#queue.drain(false);
        for (const job of [...this.#model.jobs.values()].filter((each) => each.state === 'blocked'))
          this.#model.end(job.id);
        for (const job of [...this.#model.jobs.values()].filter((each) => each.state === 'waiting'))
          this.#model.end(job.id);
        break;
      case 'complete':
        await this.#complete(operation.nth, operation.fetch);
        break;
      default:
        await this.#move(operation.op, operation.nth);
    }
    await this.#check(operation);
  }

  async #add(op: 'add' | 'delayed' | 'reject', id: string, key: string): Promise<void> {
    const limit = limitOf(key);
    const option = { id, ...(key === '' ? {} : { key, keyLimit: limit }) };
    const opts: FairJobsOptions = { attempts: 50, ...(id === '' && key === '' ? {} : { group: option }) };
    if (op === 'delayed') opts.delay = HOUR_MS;
    if (op === 'reject' && opts.group && key !== '') {
      opts.group.keyStrategy = 'reject';
      if (this.#model.isBusy(id, key, limit)) {
        await expect(this.#queue.add('j', {}, opts as JobsOptions)).rejects.toThrow('runs or waits');
        return;
      }
    }
    const job = await this.#queue.add('j', {}, opts);
    if (op === 'delayed') this.#model.addDelayed(job.id ?? '', id, key, limit);
    else this.#model.add(job.id ?? '', id, key, limit);
  }

  #picked(job: Job | undefined): void {
    if (!job) {
      expect(this.#model.count('waiting')).toBe(0);
      return;
    }
    this.#model.start(job.id ?? '');
    this.#running.set(job.id ?? '', job);
  }

  async #complete(nth: number, fetch: boolean): Promise<void> {
    const found = this.#model.nth(['active'], nth);
    if (!found) return;
    const next: unknown = await this.#take(found.id).moveToCompleted('done', 't', fetch);
    this.#model.end(found.id);
    if (!fetch) return;
    const [fields, id] = Array.isArray(next) ? (next as [never, string]) : [];
    this.#picked(id && fields ? this.#worker['createJob'](fields, id) : undefined);
  }

  async #move(
    op: Exclude<Operation['op'], 'add' | 'delayed' | 'reject' | 'pick' | 'drain' | 'complete'>,
    nth: number,
  ): Promise<void> {
    const found = this.#model.nth(
      op === 'promote'
        ? ['delayed']
        : op === 'remove'
          ? ['waiting', 'blocked', 'delayed']
          : op === 'reprioritize'
            ? ['waiting', 'blocked']
            : ['active'],
      nth,
    );
    if (!found) return;
    const { id } = found;
    switch (op) {
      case 'fail': {
        await this.#take(id).moveToFailed(new UnrecoverableError('no'), 't', false);
        this.#model.end(id);
        break;
      }
      case 'retry':
        await retry(this.#take(id), 't');
        this.#model.again(id, false);
        break;
      case 'delay':
        await postpone(this.#take(id), 't');
        this.#model.delay(id);
        break;
      case 'hand-back':
        await handBack(this.#lab, this.#worker, this.#take(id), 't');
        this.#model.again(id, true);
        break;
      case 'stall':
        await stall(this.#lab, this.#worker, this.#take(id));
        this.#model.again(id, true);
        break;
      case 'promote':
        await (await this.#queue.getJob(id))?.promote();
        this.#model.again(id, false);
        break;
      case 'remove':
        expect(await this.#queue.remove(id)).toBe(1);
        this.#model.end(id);
        break;
      case 'reprioritize':
        await (await this.#queue.getJob(id))?.changePriority({ priority: 0 });
        if (found.state === 'waiting') this.#model.again(id, false);
        break;
      case 'vanish':
        expect(await vanish(this.#lab, this.#worker, this.#take(id))).toEqual({
          released: 0,
          adopted: 0,
          keys: found.holder ? 1 : 0,
          parked: 0,
        });
        this.#model.end(id);
        break;
    }
  }

  async #check(after: Operation): Promise<void> {
    const context = `after ${JSON.stringify(after)}`;
    const { redis } = this.#lab;
    const base = this.#lab.backend(this.#queue).toKey('');
    const state = await fairState(redis, base);
    const model = this.#model;
    for (const id of GROUPS) {
      const jobs = state.groups.get(id)?.map((job) => job.id) ?? [];
      expect([context, id, jobs]).toEqual([context, id, model.order(id)]);
      for (const key of KEYS.filter((each) => each !== '')) {
        const name = `${id.length}:${id}${key}`;
        const found = [
          await redis.zrange(`${base}fair:kw::${name}`, '0', '-1'),
          (await redis.smembers(`${base}fair:kh::${name}`)).sort(),
        ];
        expect([context, name, ...found]).toEqual([
          context,
          name,
          model.blocked(id, key),
          model.holders(id, key),
        ]);
      }
    }
    expect([context, brokenInvariants(state)]).toEqual([context, []]);
    const waiting = await this.#queue.getWaiting();
    expect([context, waiting.map((job) => job.id).sort()]).toEqual([
      context,
      [...model.jobs.values()]
        .filter((job) => job.state === 'waiting' || job.state === 'blocked')
        .map((job) => job.id)
        .sort(),
    ]);
    expect([context, await this.#queue.getWaitingCount()]).toEqual([
      context,
      model.count('waiting', 'blocked'),
    ]);
    const blocked = model.nth(['blocked'], 0);
    if (blocked) expect([context, await this.#queue.getJobState(blocked.id)]).toEqual([context, 'waiting']);
    if (model.count('waiting') > 0)
      expect([context, await redis.zscore(`${base}marker`, '0')]).toEqual([context, '0']);
  }

  #take(id: string): Job {
    const job = this.#running.get(id);
    if (!job) throw new Error(`${id} does not run`);
    this.#running.delete(id);
    return job;
  }
}

test('random programs keep the order and the limit of every key, and block nobody without need', async () => {
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
