/** Random programs of jobs that are added and end together; see batches.property.test.ts. */
import fc from 'fast-check';
import type { FairJobsOptions, GateChange, GroupLimits } from '../../../queues/fair/index.ts';
import { HOUR_MS } from './job-moves.ts';

/** What is wrong with a job that is about to end. */
export type Fault = 'unlock' | 'unlist' | 'lose' | 'token';

export interface End {
  /** Which of the active jobs. */
  nth: number;
  fetch: boolean;
  fault: Fault | null;
}

export type Step =
  | { op: 'add'; jobs: { name: string; opts: FairJobsOptions }[] }
  | { op: 'start'; count: number }
  | { op: 'finish'; ends: End[] }
  | { op: 'limit'; group: string; limits: GroupLimits | null }
  | { op: 'gate'; change: GateChange }
  | { op: 'pause' | 'resume' | 'concurrency' | 'unlimited' }
  | { op: 'promote'; nth: number }
  | { op: 'lose-queue'; group: string };

export interface Program {
  unprioritized: 'first' | 'last';
  steps: Step[];
}

const MANY = 20;
const TASKS = ['echo', 'video'];

/** Mostly a name of its own for a group, so that a key of one group is not that of another. */
const groupName = (n: number): string => (n === 0 ? '' : n === 1 ? 'b:c' : `g${n}`);

const gate = fc
  .record({
    at: fc.constantFrom(
      { kind: 'q', name: 'q' } as const,
      ...TASKS.map((name) => ({ kind: 't', name }) as const),
    ),
    what: fc.constantFrom('gone', 'max', 'rate', 'both'),
    most: fc.integer({ min: 0, max: 6 }),
  })
  .map(({ at, what, most }): GateChange => {
    if (what === 'gone') return { ...at, gone: true };
    const rate = { e: 4 * HOUR_MS * 1000, b: 6, a: most, tokens: most };
    return { ...at, ...(what === 'rate' ? {} : { m: most }), ...(what === 'max' ? {} : rate) };
  });

const limits: fc.Arbitrary<GroupLimits | null> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ weight: fc.constantFrom(0.5, 1, 2, 3, 100) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      weight: fc.constantFrom(1, 2),
      maxRunning: fc.constantFrom(1, 2, 3, 8),
      rate: fc.constantFrom(
        null,
        { limit: 1, periodMs: HOUR_MS, burst: 2 },
        { limit: 1, periodMs: HOUR_MS, burst: 5 },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.constant(null) },
);

function jobsOf(groups: number): fc.Arbitrary<{ name: string; opts: FairJobsOptions }[]> {
  const options = fc
    .record(
      {
        id: fc.nat(groups - 1),
        cost: fc.option(fc.constantFrom(0.01, 1, 3), { freq: 2 }),
        key: fc.option(
          fc.record({
            key: fc.constantFrom('k', 'l'),
            keyLimit: fc.constantFrom(1, 2),
            keyStrategy: fc.constantFrom<('queue' | 'reject')[]>('queue', 'queue', 'queue', 'reject'),
          }),
          { freq: 4 },
        ),
        priority: fc.constantFrom(0, 0, 0, 1, 5),
        delay: fc.constantFrom(...Array.from({ length: 12 }, () => 0), 100_000_000),
        lifo: fc.constantFrom(...Array.from({ length: 12 }, () => false), true),
        removeOnComplete: fc.boolean(),
        jobId: fc.option(fc.constantFrom('x', 'y', 'z'), { freq: 12 }),
      },
      { noNullPrototype: true },
    )
    .map(({ id, cost, key, jobId, lifo, delay, ...others }): FairJobsOptions => ({
      ...others,
      ...(jobId === null ? {} : { jobId }),
      ...(lifo ? { lifo } : {}),
      ...(delay > 0 ? { delay } : {}),
      ...(id === 0 && key === null && cost === null
        ? {}
        : { group: { id: groupName(id), ...(cost === null ? {} : { cost }), ...(key ?? {}) } }),
    }));
  return fc.array(fc.record({ name: fc.constantFrom(...TASKS), opts: options }), {
    minLength: 1,
    maxLength: MANY,
  });
}

const finish = fc
  .record({
    count: fc.oneof(fc.integer({ min: 1, max: MANY }), fc.constantFrom(1, 3, 16, MANY)),
    style: fc.constantFrom('all fetch', 'all fetch', 'some fetch', 'none fetches'),
    faulty: fc.constantFrom(0, 0, 0.2),
    seeds: fc.array(
      fc.record({
        nth: fc.nat(60),
        fetch: fc.boolean(),
        fault: fc.constantFrom<Fault[]>('unlock', 'unlist', 'lose', 'token'),
        luck: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
      { minLength: MANY, maxLength: MANY },
    ),
  })
  .map(({ count, style, faulty, seeds }): Step => ({
    op: 'finish',
    ends: seeds.slice(0, count).map(({ nth, fetch, fault, luck }) => ({
      nth,
      fetch: style === 'all fetch' || (style === 'some fetch' && fetch),
      fault: luck < faulty ? fault : null,
    })),
  }));

function stepOf(groups: number): fc.Arbitrary<Step> {
  const group = fc.nat(groups - 1).map(groupName);
  const op = <O extends string>(...names: O[]): fc.Arbitrary<O> => fc.constantFrom(...names);
  return fc.oneof(
    { weight: 6, arbitrary: fc.record({ op: op('add'), jobs: jobsOf(groups) }) },
    { weight: 4, arbitrary: fc.record({ op: op('start'), count: fc.integer({ min: 1, max: MANY }) }) },
    { weight: 9, arbitrary: finish },
    { weight: 2, arbitrary: fc.record({ op: op('limit'), group, limits }) },
    { weight: 1, arbitrary: fc.record({ op: op('gate'), change: gate }) },
    { weight: 1, arbitrary: fc.record({ op: op('pause', 'resume', 'resume', 'concurrency', 'unlimited') }) },
    { weight: 1, arbitrary: fc.record({ op: op('promote'), nth: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ op: op('lose-queue'), group }) },
  );
}

/** Weights, jobs, and some that run, before the steps: few groups or many, few jobs or many. */
export const program: fc.Arbitrary<Program> = fc.constantFrom(1, 2, 3, 8, 40).chain((groups) =>
  fc
    .record({
      unprioritized: fc.constantFrom('first', 'last'),
      weights: fc.array(fc.record({ group: fc.nat(groups - 1).map(groupName), limits }), {
        maxLength: Math.min(groups, 10),
      }),
      jobs: fc.array(jobsOf(groups), { minLength: 1, maxLength: 3 }),
      count: fc.integer({ min: 1, max: MANY }),
      steps: fc.array(stepOf(groups), { minLength: 3, maxLength: 12 }),
    })
    .map(({ unprioritized, weights, jobs, count, steps }): Program => ({
      unprioritized,
      steps: [
        ...weights.map((each): Step => ({ op: 'limit', ...each })),
        ...jobs.map((each): Step => ({ op: 'add', jobs: each })),
        { op: 'start', count },
        ...steps,
      ],
    })),
);
