import { expect, test } from '@jest/globals';

import type { BackendFactory, Job, Queue, Worker } from 'bullmq';
import fc from 'fast-check';
import { createFairBackend } from '../../../queues/fair/index.ts';
import type { FairJobsOptions, FairQueueBackend, GroupOptions } from '../../../queues/fair/index.ts';
import { eventually } from '../../support/eventually.ts';
import { inLab, withoutLean } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';
import { comparable, isHash, keyspace } from './comparable.ts';

const RUNS = Number(process.env.FC_RUNS ?? 20);

const plodding: BackendFactory<FairQueueBackend> = (...args) => withoutLean(createFairBackend()(...args));

type Operation =
  | { op: 'add'; opts: FairJobsOptions }
  | { op: 'pick' | 'pause' | 'resume' | 'concurrency' | 'rate' | 'unlimited' | 'drain' }
  | { op: 'complete' | 'fail' | 'unlock' | 'unlist' | 'lose'; nth: number; fetch: boolean };

const jobOptions = fc.record(
  {
    group: fc.constantFrom<GroupOptions[]>(
      { id: 'a' },
      { id: 'b:c' },
      { id: '' },
      { id: 'ü\n*' },
      { id: 'a', cost: 3 },
      { id: 'a', cost: 0.01 },
      { id: 'a', key: 'k' },
      { id: 'a', key: 'k', keyLimit: 2 },
      { id: 'b:c', key: 'k' },
    ),
    priority: fc.constantFrom(0, 1, 5),
    lifo: fc.boolean(),
    delay: fc.constant(100_000_000),
    jobId: fc.constantFrom('x', 'y', '__proto__'),
    removeOnComplete: fc.constantFrom<(boolean | number | { age: number })[]>(true, false, 0, 2, {
      age: 1000,
    }),
    attempts: fc.constantFrom(1, 2),
    deduplication: fc.constant({ id: 'd' }),
  },
  { requiredKeys: [] },
);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ op: fc.constant('add'), opts: jobOptions }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('add'), opts: fc.constant({}) }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('pick') }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constantFrom('pause', 'resume', 'concurrency', 'rate', 'unlimited', 'unlimited', 'drain'),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constantFrom('complete', 'complete', 'complete', 'complete', 'fail', 'unlock', 'unlist', 'lose'),
      nth: fc.nat(20),
      fetch: fc.boolean(),
    }),
  },
);

/** Runs operations on one queue and tells what each of them answered. */
class Side {
  readonly #queue: Queue;
  readonly #worker: Worker;
  readonly #active: Job[] = [];

  readonly lab: Lab;

  constructor(lab: Lab) {
    this.lab = lab;
    this.#queue = lab.queue('q');
    this.#worker = lab.hand('q', { name: 'w' });
  }

  /** The constructor writes to the meta key in the background. */
  async ready(): Promise<void> {
    await Promise.all([this.#queue.waitUntilReady(), this.#queue.getVersion()]);
    await eventually(
      'the queue is registered',
      async () => (await this.lab.redis.exists(`${this.lab.prefix}:q:meta`)) === 1,
    );
  }

  async step(operation: Operation): Promise<unknown> {
    try {
      return (await this.#answer(operation)) ?? null;
    } catch (error) {
      return String(error).replaceAll(this.lab.prefix, 'P');
    }
  }

  async #answer(operation: Operation): Promise<unknown> {
    switch (operation.op) {
      case 'add':
        return (await this.#queue.add('j', { n: 1 }, { ...operation.opts })).id;
      case 'pick': {
        const job = (await this.#worker.getNextJob('t', { block: false })) as Job | undefined;
        if (job) this.#active.push(job);
        return job && [job.id, job.attemptsStarted, job.processedBy];
      }
      case 'pause':
        return this.#queue.pause();
      case 'resume':
        return this.#queue.resume();
      case 'concurrency':
        return this.#queue.setGlobalConcurrency(2);
      case 'rate':
        return this.#queue.setGlobalRateLimit(3, 100_000);
      case 'unlimited':
        await this.#queue.removeGlobalConcurrency();
        return this.#queue.removeGlobalRateLimit();
      case 'drain':
        return this.#queue.drain();
      default:
        return this.#finish(operation.op, operation.nth, operation.fetch);
    }
  }

  async #finish(
    op: 'complete' | 'fail' | 'unlock' | 'unlist' | 'lose',
    nth: number,
    fetch: boolean,
  ): Promise<unknown> {
    const job = this.#active[nth % Math.max(1, this.#active.length)];
    if (!job) return undefined;
    this.#active.splice(this.#active.indexOf(job), 1);
    const key = `${this.lab.prefix}:q:${job.id}`;
    if (op === 'unlock') await this.lab.redis.del(`${key}:lock`);
    if (op === 'lose') await this.lab.redis.del(key);
    if (op === 'unlist') await this.lab.redis.lrem(`${this.lab.prefix}:q:active`, 0, job.id ?? '');
    const next =
      op === 'fail'
        ? await job.moveToFailed(new Error('no'), 't', fetch)
        : await job.moveToCompleted('v', 't', fetch);
    if (!Array.isArray(next)) return next;
    // For how long a rate still holds differs by a millisecond.
    if (!next[1]) return [next[0], next[1], Number(next[2]) > 0, next[3]];
    const [fields, id, ...rest] = next as [Record<string, string>, string, ...unknown[]];
    this.#active.push(this.#worker['createJob'](fields as never, id));
    return [comparable(fields), id, rest];
  }
}

/** Takes out what is known to differ, and is invisible to workers. */
function forgive(keys: Record<string, unknown>): void {
  // The twin sets the marker only if jobs are left, and leaves the counter `pc`.
  delete keys[':q:marker'];
  delete keys[':q:pc'];
  for (const [key, content] of Object.entries(keys)) {
    // What BullMQ writes by a JSON encoder of another make.
    if (isHash(content) && content['opts']) {
      const { delay, priority, ...others } = { delay: '0', priority: '0', ...content };
      // A lean add leaves these out while they are 0.
      keys[key] = { ...others, delay, priority, opts: JSON.parse(content['opts']) };
    }
    // A lean finish clears this mark when it finds nothing delayed.
    if (key === ':q:meta' && isHash(content)) delete content['fair:delayed'];
  }
}

test('the lean scripts leave what the original scripts leave, whatever came before', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 40 }), async (program) => {
      await inLab('fair', (leanLab) =>
        inLab(plodding, async (plainLab) => {
          const [lean, plain] = [new Side(leanLab), new Side(plainLab)];
          await Promise.all([lean.ready(), plain.ready()]);
          for (const [i, step] of program.entries()) {
            const context = `step ${i} ${JSON.stringify(step)}`;
            const [twin, original] = await Promise.all([lean.step(step), plain.step(step)]);
            expect([context, comparable(twin)]).toEqual([context, comparable(original)]);
            const [after, expected] = await Promise.all([
              keyspace(leanLab, forgive),
              keyspace(plainLab, forgive),
            ]);
            expect([context, after]).toEqual([context, expected]);
          }
        }),
      );
    }),
    { numRuns: RUNS },
  );
});
