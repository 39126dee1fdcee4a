/** Search against a plain filter over a model, under random programs. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Worker } from 'bullmq';
import fc from 'fast-check';
import type { JobEnvelope } from '../../../queues/jobs/envelope.ts';
import { createWaggleBackend } from '../../../queues/topology/backend.ts';
import { connectWorker } from '../../../queues/topology/connections.ts';
import type { RedisConnection } from '../../../queues/topology/connections.ts';
import type { Job, JobListQuery } from '../../../src/shared/schemas.ts';
import { context, failure, openTestEngine } from '../support/engine.ts';
import type { TestEngine, TestWorker } from '../support/engine.ts';

const RUNS = Number(process.env.FC_RUNS ?? 15);

type Filter = Omit<JobListQuery, 'limit' | 'cursor'>;
type Known = Pick<Job, 'id' | 'task' | 'queue' | 'state' | 'key' | 'tags' | 'correlationId' | 'createdAt'>;

const TAGS = ['a', 'b', 'ab', 'a:b'];
const QUEUES = ['default', 'other'];
const TASKS = ['echo', 'work'];

const request = fc.record(
  {
    task: fc.constantFrom(...TASKS),
    attempts: fc.constant(1),
    queue: fc.constantFrom(...QUEUES),
    key: fc.constantFrom('k', 'l'),
    tags: fc.uniqueArray(fc.constantFrom(...TAGS), { maxLength: 3 }),
    correlationId: fc.constantFrom('c', 'd'),
    delayMs: fc.constantFrom(0, 3_600_000),
  },
  { requiredKeys: ['task', 'attempts'] },
);
const filter = fc.record(
  {
    task: fc.constantFrom(...TASKS),
    queue: fc.constantFrom(...QUEUES),
    key: fc.constantFrom('k', 'l'),
    tag: fc.constantFrom(...TAGS),
    correlationId: fc.constantFrom('c', 'test'),
    state: fc.constantFrom('waiting', 'delayed', 'active', 'completed', 'failed', 'cancelled'),
  },
  { requiredKeys: [] },
);
const step = fc.oneof(
  fc.record({ op: fc.constant('add' as const), requests: fc.array(request, { minLength: 1, maxLength: 8 }) }),
  fc.record({
    op: fc.constantFrom('take', 'complete', 'fail', 'cancel', 'remove', 'retry'),
    queue: fc.constantFrom(...QUEUES),
  }),
  fc.record({
    op: fc.constant('look' as const),
    filter,
    limit: fc.integer({ min: 1, max: 7 }),
    adds: fc.boolean(),
  }),
);
type Step = typeof step extends fc.Arbitrary<infer Each> ? Each : never;

let engine: TestEngine;
let connection: RedisConnection;
beforeAll(async () => {
  engine = await openTestEngine();
  connection = connectWorker(engine.redisUrl);
});
afterAll(async () => {
  connection.disconnect();
  await engine.close();
});

class Walk {
  readonly #tenant: string;
  readonly #jobs = new Map<string, Known>();
  readonly #workers = new Map<string, TestWorker>();

  constructor(tenant: string) {
    this.#tenant = tenant;
  }

  async step(each: Step): Promise<void> {
    if (each.op === 'add') return this.#add(each.requests);
    if (each.op === 'look') return this.#look(each);
    return this.#move(each.op, each.queue);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#workers.values()].map((worker) => worker.close()));
    await engine.purges.purge(this.#tenant, () => true);
  }

  async #add(requests: readonly unknown[]): Promise<void> {
    const outcomes = await engine.jobs.enqueueBatch(this.#tenant, requests, context);
    for (const outcome of outcomes) {
      if ('problem' in outcome) throw outcome.problem;
      this.#jobs.set(outcome.id, await engine.jobs.get(this.#tenant, outcome.id));
    }
  }

  async #move(op: string, queue: string): Promise<void> {
    if (op === 'take') return this.#take(queue);
    const states =
      op === 'remove' ? ['waiting', 'failed', 'completed'] : [op === 'retry' ? 'failed' : 'active'];
    const known = [...this.#jobs.values()].find(
      (each) => each.queue === queue && states.includes(each.state),
    );
    if (!known) return;
    const job = await engine.topology.queue(engine.topology.shardOf(this.#tenant), queue).getJob(known.id);
    if (!job) throw new Error(`${known.id} is gone`);
    if (op === 'complete') await job.moveToCompleted(1, 't', false);
    else if (op === 'retry') await job.retry('failed');
    else if (op === 'remove') await job.remove();
    else await job.moveToFailed(failure(op === 'cancel' ? 'cancelled' : 'task_failed'), 't', false);
    if (op === 'remove') this.#jobs.delete(known.id);
    else
      known.state = ({ complete: 'completed', retry: 'waiting', fail: 'failed' } as const)[op] ?? 'cancelled';
  }

  async #take(queue: string): Promise<void> {
    const job = await this.#worker(queue).getNextJob('t', { block: false });
    const known = job && this.#jobs.get(String(job.id));
    if (known) known.state = 'active';
  }

  async #look({ filter: wanted, limit, adds }: Step & { op: 'look' }): Promise<void> {
    const expected = [...this.#jobs.values()]
      .filter((job) => matches(job, wanted as Filter))
      .sort((one, other) => (rank(one) < rank(other) ? 1 : -1))
      .map((job) => job.id);
    const seen: string[] = [];
    for (let cursor: string | undefined; ;) {
      const query = { ...(wanted as Filter), limit, ...(cursor === undefined ? {} : { cursor }) };
      const page = await engine.jobs.list(this.#tenant, query);
      seen.push(...page.jobs.map((job) => job.id));
      if (page.nextCursor === null) break;
      cursor = page.nextCursor;
      // What comes after the first page was read is newer than all of it.
      if (adds) await this.#add([{ task: 'echo', attempts: 1, tags: ['a'] }]);
    }
    expect(seen).toEqual(expected);
  }

  #worker(queue: string): TestWorker {
    const known = this.#workers.get(queue);
    if (known) return known;
    const prefix = engine.topology.prefix(engine.topology.shardOf(this.#tenant));
    const opts = { connection, prefix, autorun: false };
    const worker: TestWorker = new Worker<JobEnvelope, unknown, string, never>(
      queue,
      null,
      opts,
      createWaggleBackend as never,
    );
    this.#workers.set(queue, worker);
    return worker;
  }
}

const rank = (job: Known): string => `${job.createdAt} ${job.id}`;

function matches(job: Known, wanted: Filter): boolean {
  return (
    (wanted.task === undefined || job.task === wanted.task) &&
    (wanted.queue === undefined || job.queue === wanted.queue) &&
    (wanted.key === undefined || job.key === wanted.key) &&
    (wanted.tag === undefined || job.tags.includes(wanted.tag)) &&
    (wanted.correlationId === undefined || job.correlationId === wanted.correlationId) &&
    (wanted.state === undefined || job.state === wanted.state)
  );
}

test('a search finds what a plain filter over all jobs finds, in the same order', async () => {
  let number = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
      const walk = new Walk(`walk-${(number += 1)}`);
      try {
        for (const each of steps) await walk.step(each);
      } finally {
        await walk.close();
      }
    }),
    { numRuns: RUNS },
  );
}, 300_000);
