/** What happens to jobs that are added or end in one turn of the event loop, case by case; see batches.property.test.ts. */
import { expect, test } from '@jest/globals';
import type { Job, JobsOptions, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import type { FairJobsOptions, GroupLimits } from '../../../queues/fair/index.ts';
import { startEmbeddedRedis } from '../../../src/demo/embedded-redis.ts';
import { eventually } from '../../support/eventually.ts';
import { inPair } from './batch-pair.ts';
import type { Pair } from './batch-pair.ts';
import type { End, Step } from './batch-program.ts';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';
import { HOUR_MS } from './job-moves.ts';
import { brokenInvariants, fairState } from './keyspace.ts';

/** Jobs as `<group>`, `<group>/<task>` or `<group>/<task>/<cost>`. */
function add(...jobs: string[]): Step {
  return {
    op: 'add',
    jobs: jobs.map((each) => {
      const [id = '', name = 'j', cost = 1] = each.split('/');
      return { name, opts: { removeOnComplete: true, group: { id, cost: Number(cost) } } };
    }),
  };
}

const times = (count: number, what: string): string[] => Array.from({ length: count }, () => what);
const limit = (group: string, limits: GroupLimits): Step => ({ op: 'limit', group, limits });
const start = (count: number): Step => ({ op: 'start', count });

/** The groups of the jobs that started; null for none, or an error. */
function groups(answers: unknown): (string | null)[] {
  return (answers as unknown[]).map((answer) =>
    Array.isArray(answer) ? (answer[5] as { group: { id: string } }).group.id : (answer as string | null),
  );
}

/** The first `count` active jobs end together, and all fetch but those that `change` says otherwise of. */
async function finish(
  pair: Pair,
  count: number,
  change: Record<number, Partial<End>> = {},
): Promise<(string | null)[]> {
  const ends = Array.from({ length: count }, (_, i) => ({ nth: 0, fetch: true, fault: null, ...change[i] }));
  return groups(await pair.step({ op: 'finish', ends }));
}

test('a group that is served twice and then leaves is not put back into the ring', async () => {
  await inPair('first', async (pair) => {
    await pair.step(limit('fast', { weight: 100 }));
    await pair.step(add(...times(6, 'slow')));
    await pair.step(start(3));
    await pair.step(add('fast', 'fast'));
    expect(await finish(pair, 3)).toEqual(['slow', 'fast', 'fast']);
  });
});

test('a group that moves on to the tag of the last one that was read is before it if it came first', async () => {
  await inPair('first', async (pair) => {
    await pair.step(limit('z', { weight: 0.001 }));
    await pair.step(add('first', 'a', 'b/j/2', 'z', 'z'));
    expect(groups(await pair.step(start(3)))).toEqual(['first', 'a', 'b']);
    // Both come back with what they were served: a stands one job behind z, b two.
    await pair.step(add('a', 'a', 'b', 'b'));
    expect(await finish(pair, 3)).toEqual(['z', 'a', 'a']);
  });
});

test('a group that leaves is remembered by those that nobody has read, not by one that has gone past them', async () => {
  await inPair('first', async (pair) => {
    await pair.step(add('x', 'x'));
    await pair.step(start(2));
    await pair.step(add('a/j/3', 'a/j/3', 'b', 'c', 'c'));
    expect(await finish(pair, 2)).toEqual(['a', 'b']);
    await pair.step(add('b', 'b', 'c', 'c'));
    expect(await finish(pair, 2)).toEqual(['c', 'c']);
  });
});

test('a series that ends at a group whose queue was lost leaves nothing', async () => {
  await inPair('first', async (pair) => {
    await pair.step(add('x', 'x'));
    await pair.step(start(2));
    await pair.step(add('a', 'lost'));
    await pair.step({ op: 'lose-queue', group: 'lost' });
    expect(await finish(pair, 2)).toEqual(['a', null]);
  });
});

test('what several ends let run comes in the order of the ends, by whatever it was held', async () => {
  await inPair('first', async (pair) => {
    const job = (id: string, key?: string) => ({
      name: 'j',
      opts: { removeOnComplete: true, group: { id, ...(key === undefined ? {} : { key }) } },
    });
    await pair.step(limit('full', { maxRunning: 1 }));
    await pair.step({ op: 'add', jobs: [job('keyed', 'k'), job('full'), job('keyed', 'k'), job('full')] });
    expect(groups(await pair.step(start(3)))).toEqual(['keyed', 'full', null]);
    expect(await finish(pair, 2)).toEqual(['keyed', 'full']);
  });
});

test('a job that is alone is the last one when the queue of all others was lost', async () => {
  await inPair('first', async (pair) => {
    await pair.step(add('x'));
    await pair.step(start(1));
    await pair.step(add('lost'));
    await pair.step({ op: 'lose-queue', group: 'lost' });
    expect(await finish(pair, 1)).toEqual([null]);
    expect(await pair.events('drained')).toBe(1);
  });
});

test('jobs that were set aside are served in a batch, and are forgotten in it', async () => {
  await inPair('first', async (pair) => {
    await pair.step({ op: 'gate', change: { kind: 't', name: 'echo', m: 1 } });
    await pair.step(limit('held', { rate: { limit: 1, periodMs: HOUR_MS } }));
    await pair.step(add('a/echo', 'a/echo', ...times(12, 'b'), 'held', 'held'));
    await pair.step(start(6));
    expect(await finish(pair, 5)).toEqual(['a', ...times(4, 'b')]);
  });
});

test('each job gets its own answer, whatever is wrong with those beside it', async () => {
  await inPair('first', async (pair) => {
    await pair.step(add(...times(7, 'a'), 'b', 'c', 'd', 'e'));
    await pair.step(start(11));
    await pair.step(add('one', 'two', 'three', 'four'));
    const faults = [null, 'unlock', null, 'token', null, 'unlist', null, 'lose'] as const;
    const change = Object.fromEntries(faults.map((fault, i) => [i, { fault, fetch: i !== 4 }]));
    expect(
      (await finish(pair, 8, change)).map((each) => each && each.replace(/^Error: (.*?) \d+.*/, '$1')),
    ).toEqual([
      'one',
      'Missing lock for job',
      'two',
      'Lock mismatch for job',
      null,
      'Job',
      'three',
      'Missing key for job',
    ]);
  });
});

test('a queue that runs dry in a batch leaves the others without a job, and is drained once', async () => {
  await inPair('first', async (pair) => {
    await pair.step(add(...times(12, 'a')));
    await pair.step(start(10));
    expect(await finish(pair, 10)).toEqual(
      ['a', 'a', ...times(8, 'none')].map((each) => (each === 'a' ? 'a' : null)),
    );
    expect(await finish(pair, 2)).toEqual([null, null]);
    expect(await pair.events('drained')).toBe(1);
    await pair.step(add('a'));
    await pair.step(start(1));
    expect(await finish(pair, 1, { 0: { fault: 'unlist' } })).toEqual([
      expect.stringContaining('not in the active'),
    ]);
    expect(await pair.events('drained')).toBe(1);
  });
});

test.each([
  ['paused', { op: 'pause' }],
  ['closed by its gate', { op: 'gate', change: { kind: 'q', name: 'q', m: 0 } }],
] as const)('a queue that is %s ends all and starts none', async (_, closing) => {
  await inPair('first', async (pair) => {
    await pair.step(add(...times(8, 'a')));
    await pair.step(start(5));
    await pair.step(closing);
    expect(await finish(pair, 5)).toEqual(times(5, '').map(() => null));
  });
});

test.each([
  ['longer than the ring', 3],
  ['as long as the ring', 16],
  ['shorter than the ring', 40],
])('a series that is %s goes round it', async (_, count) => {
  await inPair('first', async (pair) => {
    await pair.step(add(...times(20, 'first')));
    await pair.step(start(20));
    const names = Array.from({ length: count }, (__, n) => `g${n}`);
    await pair.step(add(...names, ...names));
    await pair.step(add(...names));
    const served = await finish(pair, 20);
    expect(new Set(served.slice(0, count)).size).toBe(Math.min(count, 20, 3 * count));
    await finish(pair, 20);
  });
});

test('the marker is set for a first group that comes with others, and again when sixteen jobs have gone', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const marker = worker.toKey('marker');
    const inGroup = (id: string): JobsOptions => ({ group: { id } }) satisfies FairJobsOptions as JobsOptions;
    await Promise.all(
      times(40, 'j').map((name, n) => queue.add(name, {}, inGroup(n === 0 ? 'first' : 'second'))),
    );
    expect(await lab.redis.zscore(marker, '0')).toBe('0');
    let jobs: Job[] = [];
    for (let i = 0; i < 5; i += 1) jobs.push(await worker.getNextJob('t', { block: false }));
    await lab.redis.del(marker);
    for (const taken of [10, 15, 20]) {
      const next = await Promise.all(
        jobs.map((job) => job.moveToCompleted(1, 't', true) as Promise<[never, string]>),
      );
      jobs = next.map(([fields, id]) => worker['createJob'](fields, id));
      expect([taken, await lab.redis.zscore(marker, '0')]).toEqual([taken, taken > 16 ? '0' : null]);
    }
  });
});

test('the marker is set for slots of a queue that come free beside one whose worker goes on', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await queue.setGlobalConcurrency(3);
    await queue.addBulk(times(9, 'j').map((name) => ({ name, data: {} })));
    const jobs: Job[] = [];
    for (let i = 0; i < 3; i += 1) jobs.push(await worker.getNextJob('t', { block: false }));
    await lab.redis.del(worker.toKey('marker'));
    await Promise.all(jobs.map((job, i) => job.moveToCompleted(1, 't', i === 0)));
    expect(await lab.redis.zscore(worker.toKey('marker'), '0')).toBe('0');
  });
});

test('what is added in one turn keeps its order, also beside what goes another way', async () => {
  await inPair('first', async (pair) => {
    const plain = { name: 'plain', opts: {} };
    const jobs = [
      plain,
      plain,
      { name: 'late', opts: { delay: HOUR_MS } },
      plain,
      { name: 'lifo', opts: { lifo: true } },
    ];
    expect(await pair.step({ op: 'add', jobs: [...jobs, ...times(30, '').map(() => plain)] })).toEqual(
      Array.from({ length: 35 }, (_, n) => String(n + 1)),
    );
  });
});

test.each(['stock', 'fair'] as const)(
  'a bulk does not overtake a job of the same turn: %s',
  async (flavour) => {
    await inLab(flavour, async (lab) => {
      const queue = lab.queue();
      await queue.waitUntilReady();
      const [job, [second]] = await Promise.all([
        queue.add('first', {}),
        queue.addBulk([{ name: 'second', data: {} }]),
      ]);
      expect([job.id, second?.id]).toEqual(['1', '2']);
    });
  },
);

/** How many jobs each call of `complete.lua` was sent, from now on. */
function sizesOfFinishes(lab: Lab, worker: Worker): number[] {
  const [backend, sizes] = [lab.backend(worker), [] as number[]];
  const execute = backend.execCommand.bind(backend);
  backend.execCommand = (client, command, args: unknown[]) => {
    if (command === 'complete') sizes.push((args.length - 4) / 5);
    return execute(client, command, args);
  };
  return sizes;
}

test('while groups come back a call takes a few jobs, the others are sent again, and soon few at a time', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const worker = lab.hand();
    const job = (id: string) => ({ name: id, data: {}, opts: { group: { id } } as JobsOptions });
    const add = (count: number, group: (n: number) => string): Promise<Job[]> =>
      queue.addBulk(Array.from({ length: count }, (_, n) => job(group(n))));
    await add(32, () => 'busy');
    const take = async (): Promise<Job> => await worker.getNextJob('t', { block: false });
    const busy: Job[] = [];
    for (let n = 0; n < 32; n += 1) busy.push(await take());
    await lab.backend(queue).pauseGroup('*', 5000);
    await add(30, (n) => `back ${n}`);
    await eventually('the pause is over', async () => (await lab.backend(queue).getGroupPause('*')) === null);
    const sizes = sizesOfFinishes(lab, worker);
    const finish = async (some: Job[]): Promise<unknown[]> =>
      Promise.all(
        some.map(async (job) => ((await job.moveToCompleted('done', 't', true)) as unknown[])?.[1]),
      );
    const since = performance.now();
    const first = await finish(busy.slice(0, 16));
    const isSoon = performance.now() - since < 100;
    const next = [...first, ...(await finish(busy.slice(16)))];
    expect(sizes.slice(0, 4)).toEqual([16, 4, 4, 4]);
    // What was learned is for 100 ms.
    if (isSoon) expect(sizes.slice(4)).toEqual([4, 4, 4, 4]);
    // Each call lets four groups go, of which a job starts for each that ended.
    const started = next.filter((id) => Number(id) > 0);
    expect(new Set(started).size).toBe(30);
    expect(await queue.getJobCounts('completed', 'active', 'waiting')).toEqual({
      completed: 32,
      active: 30,
      waiting: 0,
    });
    expect(brokenInvariants(await fairState(lab.redis, worker.toKey('')))).toEqual([]);
  });
});

test('whatever becomes of the connection, every job is added and is completed once', async () => {
  const server = await startEmbeddedRedis();
  const killer = new Redis(server.url, { maxRetriesPerRequest: null });
  const COUNT = 500;
  try {
    await inLab(
      'fair',
      async (lab) => {
        const queue = lab.queue('q', { streams: { events: { maxLen: 1_000_000 } } });
        const runs = new Map<string, number>();
        const run = async (job: Job): Promise<string> => {
          runs.set(job.name, (runs.get(job.name) ?? 0) + 1);
          return job.name;
        };
        const opts = { concurrency: 20, lockDuration: 500, stalledInterval: 250, maxStalledCount: 100 };
        const worker = lab.worker('q', run, { ...opts, skipStalledCheck: false });
        let killed = 0;
        // Each time when about fifty more have run.
        worker.on('active', () => {
          if (runs.size < killed * 50) return;
          killed += 1;
          void killer.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        });
        const names = Array.from({ length: COUNT }, (_, n) => `job ${n}`);
        await Promise.all(
          names.map((name, n) =>
            queue.add(name, {}, { jobId: name, group: { id: `g${n % 7}` } } as FairJobsOptions),
          ),
        );
        await eventually('all are completed', async () => (await queue.getCompletedCount()) === COUNT);
        expect(killed).toBeGreaterThan(5);
        expect([...runs.keys()].sort()).toEqual([...names].sort());
        const told = (await lab.events()).filter((event) => event.startsWith('event completed'));
        expect(told).toHaveLength(COUNT);
        expect(new Set(told).size).toBe(COUNT);
        expect(await queue.getJobCounts('waiting', 'active', 'failed')).toEqual({
          waiting: 0,
          active: 0,
          failed: 0,
        });
        expect(brokenInvariants(await fairState(lab.redis, worker.toKey('')))).toEqual([]);
      },
      server.url,
    );
  } finally {
    killer.disconnect();
    await server.stop();
  }
});
