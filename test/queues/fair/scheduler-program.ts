/** Random programs for the whole scheduler: what may happen to the queues of two prefixes, in any order. */
import fc from 'fast-check';
import { KEY_STRATEGIES } from '../../../queues/fair/group-options.ts';
import type { KeyStrategy } from '../../../queues/fair/group-options.ts';
import type { GroupLimits, QueueLimits } from '../../../queues/fair/group-limits.ts';
import { HOUR_MS } from './job-moves.ts';

export const SHARDS = 2;
export const QUEUES = ['one', 'two'] as const;
/** The last one is for limits only: the groups without their own. */
export const GROUPS = ['', 'a', 'b:1', 'l\nf[x]', '*'] as const;
export const KEYS = ['', 'k', ':k\n'] as const;

export interface Place {
  group: string;
  key: string;
  keyLimit: number;
  priority: number;
  cost: number;
}

/** `shard` says which prefix; `nth` which of the jobs that come into question. */
export type Operation = { shard: number } & (
  | {
      op: 'add';
      queue: string;
      place: Place;
      count: number;
      strategy: KeyStrategy;
      lifo: boolean;
      delayed: boolean;
      keep: 'all' | 'none' | 'few';
    }
  | { op: 'flow'; queue: string; place: Place; children: { queue: string; place: Place }[] }
  | { op: 'pick'; queue: string; worker: number; woken: boolean; skewMs: number }
  | { op: 'complete'; nth: number; fetch: boolean }
  | { op: JobMove; nth: number }
  | { op: 'spawn'; nth: number; queue: string }
  | { op: 'reprioritize'; nth: number; priority: number; lifo: boolean }
  | { op: 'vanish'; nth: number; state: 'waiting' | 'active' | 'delayed' | 'blocked' }
  | { op: 'check-stalled' | 'pause' | 'resume' | 'repair' | 'sweep'; queue: string }
  | { op: 'obliterate'; queue: string }
  | { op: 'drain'; queue: string; delayed: boolean }
  | { op: 'clean'; queue: string; state: 'wait' | 'prioritized' | 'delayed' | 'active'; limit: number }
  | { op: 'concurrency'; queue: string; limit: number | null }
  | { op: 'limit'; group: string; limits: GroupLimits | null }
  | { op: 'pause-group'; group: string; forMs: number | null; extend: boolean }
  | { op: 'resume-group'; group: string }
  | { op: 'lose-queue'; queue: string; group: string }
  | { op: 'advance'; ms: number }
  | { op: 'jump'; group: string; ms: number }
);

type JobMove =
  | 'fail'
  | 'retry'
  | 'postpone'
  | 'hand-back'
  | 'lose-lock'
  | 'steal'
  | 'promote'
  | 'change-delay'
  | 'remove'
  | 'fail-waiting';

// Most of it happens in one place, so that jobs meet.
const queue = fc.constantFrom(QUEUES[0], ...QUEUES);
const group = fc.constantFrom('a', 'a', ...GROUPS.slice(0, -1));
const nth = fc.nat(30);
const place: fc.Arbitrary<Place> = fc.record({
  group,
  key: fc.constantFrom(...KEYS, 'k'),
  keyLimit: fc.constantFrom(1, 1, 2),
  priority: fc.constantFrom(0, 0, 0, 1, 2),
  cost: fc.constantFrom(1, 1, 1, 0.01, 0.5, 7),
});

const inQueue: fc.Arbitrary<QueueLimits> = fc.record(
  {
    maxRunning: fc.constantFrom(null, null, 0, 1, 2, 3),
    rate: fc.oneof(
      fc.constant(null),
      fc.record({
        limit: fc.constantFrom(1, 4),
        periodMs: fc.constant(4 * HOUR_MS),
        burst: fc.integer({ min: 1, max: 2 }),
      }),
    ),
    weight: fc.constantFrom(0.3, 1, 3),
  },
  { requiredKeys: [] },
);
const limits: fc.Arbitrary<GroupLimits> = fc
  .tuple(
    inQueue,
    fc.record(
      {
        paused: fc.constantFrom(false, false, false, true),
        queues: fc.record({ one: inQueue, two: inQueue }, { requiredKeys: [] }),
      },
      { requiredKeys: [] },
    ),
  )
  .map(([own, rest]) => ({ ...own, ...rest }));

type Arbitraries<T> = { [K in keyof T]: fc.Arbitrary<T[K]> };
export type Named<Name, Each = Operation> = Each extends { op: infer Names }
  ? Name extends Names
    ? Each
    : never
  : never;

function operation<Name extends Operation['op']>(
  weight: number,
  names: readonly Name[],
  fields: Arbitraries<Omit<Named<NoInfer<Name>>, 'op' | 'shard'>>,
): { weight: number; arbitrary: fc.Arbitrary<Operation> } {
  const shard = fc.constantFrom(0, 0, 0, SHARDS - 1);
  const arbitrary = fc.record({ op: fc.constantFrom(...names), shard, ...fields });
  return { weight, arbitrary: arbitrary as unknown as fc.Arbitrary<Operation> };
}

const operations = fc.oneof(
  operation(22, ['add'], {
    queue,
    place,
    count: fc.constantFrom(1, 1, 1, 3),
    strategy: fc.constantFrom('queue', 'queue', 'queue', ...KEY_STRATEGIES),
    lifo: fc.constantFrom(false, false, false, true),
    delayed: fc.constantFrom(false, false, false, false, true),
    keep: fc.constantFrom('none', 'none', 'all', 'few'),
  }),
  operation(3, ['flow'], {
    queue,
    place,
    children: fc.array(fc.record({ queue, place }), { minLength: 1, maxLength: 2 }),
  }),
  operation(26, ['pick'], {
    queue,
    worker: fc.nat(1),
    woken: fc.boolean(),
    skewMs: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, -HOUR_MS / 6, HOUR_MS / 6, 2 * HOUR_MS),
  }),
  operation(14, ['complete'], { nth, fetch: fc.constantFrom(true, true, false) }),
  operation(
    18,
    [
      'fail',
      'retry',
      'postpone',
      'postpone',
      'hand-back',
      'lose-lock',
      'steal',
      'promote',
      'change-delay',
      'remove',
    ],
    { nth },
  ),
  operation(2, ['fail-waiting'], { nth }),
  operation(2, ['spawn'], { nth, queue }),
  operation(2, ['reprioritize'], { nth, priority: fc.nat(2), lifo: fc.boolean() }),
  operation(2, ['vanish'], { nth, state: fc.constantFrom('waiting', 'active', 'delayed', 'blocked') }),
  operation(4, ['check-stalled'], { queue }),
  operation(3, ['pause', 'resume'], { queue }),
  operation(4, ['repair', 'sweep'], { queue }),
  operation(1, ['drain'], { queue, delayed: fc.boolean() }),
  operation(1, ['clean'], {
    queue,
    state: fc.constantFrom('wait', 'prioritized', 'delayed', 'active'),
    limit: fc.constantFrom(0, 0, 2),
  }),
  operation(1, ['obliterate'], { queue }),
  operation(1, ['concurrency'], { queue, limit: fc.constantFrom(null, null, 1, 3) }),
  operation(6, ['limit'], { group: fc.constantFrom(...GROUPS), limits: fc.option(limits, { freq: 2 }) }),
  operation(2, ['pause-group'], {
    group: fc.constantFrom(...GROUPS),
    forMs: fc.constantFrom(null, HOUR_MS, 3 * HOUR_MS),
    extend: fc.boolean(),
  }),
  operation(3, ['resume-group'], { group: fc.constantFrom(...GROUPS) }),
  operation(1, ['lose-queue'], { queue, group }),
  operation(4, ['advance'], { ms: fc.constantFrom(HOUR_MS / 60, HOUR_MS / 2, HOUR_MS, 5 * HOUR_MS) }),
  operation(1, ['jump'], { group, ms: fc.constantFrom(-1000 * HOUR_MS, 1000 * HOUR_MS) }),
);

export const programs = (maxLength: number): fc.Arbitrary<Operation[]> =>
  fc.array(operations, { minLength: 1, maxLength, size: 'max' });
