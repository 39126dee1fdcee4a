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
    what: fc.constantFrom('gone', 'max', 'max', 'rate', 'both'),
    most: fc.integer({ min: 0, max: 8 }),
  })
  .map(({ at, what, most }): GateChange => {
    if (what === 'gone') return { ...at, gone: true };
    const rate = { e: 4 * HOUR_MS * 1000, b: 8, a: most, tokens: most };
    return { ...at, ...(what === 'rate' ? {} : { m: most }), ...(what === 'max' ? {} : rate) };
  });

const weights = fc.record({ weight: fc.constantFrom(0.5, 1, 2, 3, 100) });
const limits = fc.oneof<fc.Arbitrary<GroupLimits | null>[]>(
  weights,
  fc.record({
    weight: fc.constantFrom(1, 2),
    maxRunning: fc.constantFrom(1, 2, 3, 8),
    rate: fc.constantFrom(
      null,
      { limit: 1, periodMs: HOUR_MS, burst: 2 },
      { limit: 1, periodMs: HOUR_MS, burst: 5 },
    ),
  }),
  fc.constant(null),
);

const seldom = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });

function jobsOf(groups: number): fc.Arbitrary<{ name: string; opts: FairJobsOptions }[]> {
  const options = fc
    .record(
      {
        id: fc.nat(groups - 1),
        cost: fc.constantFrom(null, null, 0.01, 1, 3),
        key: seldom(
          fc.record({
            key: fc.constantFrom('k', 'l'),
            keyLimit: fc.constantFrom(1, 2),
            keyStrategy: fc.constantFrom<('queue' | 'reject')[]>('queue', 'queue', 'queue', 'reject'),
          }),
        ),
        priority: fc.constantFrom(0, 0, 0, 1, 5),
        delay: seldom(fc.constant(100_000_000)),
        lifo: seldom(fc.constant(true)),
        removeOnComplete: fc.boolean(),
        jobId: seldom(fc.constantFrom('x', 'y', 'z')),
      },
      { noNullPrototype: true },
    )
    .map(({ id, cost, key, jobId, lifo, delay, ...others }): FairJobsOptions => ({
      ...others,
      ...(jobId === null ? {} : { jobId }),
      ...(lifo === null ? {} : { lifo }),
      ...(delay === null ? {} : { delay }),
      ...(id === 0 && key === null && cost === null
        ? {}
        : { group: { id: groupName(id), ...(cost === null ? {} : { cost }), ...(key ?? {}) } }),
    }));
  const job = fc.record({ name: fc.constantFrom(...TASKS), opts: options });
  return fc.array(job, { minLength: 1, maxLength: MANY, size: 'max' });
}

const finish = fc
  .record({
    count: fc.oneof(fc.integer({ min: 1, max: MANY }), fc.constantFrom(1, 3, 16, MANY)),
    style: fc.constantFrom('all fetch', 'all fetch', 'some fetch', 'none fetches'),
    faulty: fc.constantFrom(0, 0, 0, 0.15),
    seeds: fc.array(
      fc.record({
        nth: fc.nat(60),
        fetch: fc.boolean(),
        fault: fc.constantFrom<Fault[]>('unlock', 'unlist', 'lose', 'token'),
        luck: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
      { minLength: MANY, maxLength: MANY, size: 'max' },
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

const op = <O extends string>(...names: O[]): fc.Arbitrary<O> => fc.constantFrom(...names);
const start = fc.record({
  op: op('start'),
  count: fc.oneof(fc.integer({ min: 1, max: MANY }), fc.constant(MANY)),
});
const setGate = fc.record({ op: op('gate'), change: gate });

/** Something other than the group's weight may keep its jobs from running only when `isHeld`. */
function limitOf(groups: number, isHeld: boolean): fc.Arbitrary<Step> {
  return fc.record({
    op: op('limit'),
    group: fc.nat(groups - 1).map(groupName),
    limits: isHeld ? limits : weights,
  });
}

function stepOf(groups: number, isHeld: boolean): fc.Arbitrary<Step> {
  const switches = op('pause', 'resume', 'resume', 'resume', 'concurrency', 'unlimited', 'unlimited');
  return fc.oneof(
    { weight: 6, arbitrary: fc.record({ op: op('add'), jobs: jobsOf(groups) }) },
    { weight: 4, arbitrary: start },
    { weight: 9, arbitrary: finish },
    { weight: 2, arbitrary: limitOf(groups, isHeld) },
    { weight: 1, arbitrary: fc.record({ op: op('promote'), nth: fc.nat(20) }) },
    {
      weight: 1,
      arbitrary: fc.record({ op: op('lose-queue'), group: fc.nat(groups - 1).map(groupName) }),
    },
    { weight: isHeld ? 1 : 0, arbitrary: setGate },
    { weight: isHeld ? 1 : 0, arbitrary: fc.record({ op: switches }) },
  );
}

/** Limits, jobs, and some that run, before the steps: few groups or many, for few jobs or many. */
export const program: fc.Arbitrary<Program> = fc.noBias(
  fc.tuple(fc.constantFrom(1, 2, 3, 8, 40), fc.boolean()).chain(([groups, isHeld]) =>
    fc
      .record({
        unprioritized: fc.constantFrom('first' as const, 'last' as const),
        before: fc.array(limitOf(groups, isHeld), { maxLength: Math.min(groups, 10), size: 'max' }),
        gates: fc.array(setGate, { maxLength: isHeld ? 1 : 0 }),
        adds: fc.array(fc.record({ op: op('add'), jobs: jobsOf(groups) }), {
          minLength: 1,
          maxLength: 6,
          size: 'max',
        }),
        first: start,
        steps: fc.array(stepOf(groups, isHeld), { minLength: 3, maxLength: 14, size: 'max' }),
      })
      .map(({ unprioritized, before, gates, adds, first, steps }): Program => ({
        unprioritized,
        steps: [...before, ...gates, ...adds, first, ...steps],
      })),
  ),
);
