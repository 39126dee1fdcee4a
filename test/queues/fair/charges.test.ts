import { expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import fc from 'fast-check';
import type { FairJobsOptions } from '../../../queues/fair/index.ts';
import { eventually } from '../../support/eventually.ts';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';

const HOUR_MS = 3_600_000;

async function fill(queue: Queue, id: string, count: number, cost?: number, key?: string): Promise<void> {
  const group = { id, ...(cost === undefined ? {} : { cost }), ...(key === undefined ? {} : { key }) };
  const opts = { group } satisfies FairJobsOptions as JobsOptions;
  await queue.addBulk(Array.from({ length: count }, () => ({ name: id, data: {}, opts })));
}

const take = (worker: Worker): Promise<Job | undefined> => worker.getNextJob('t', { block: false });

/** Takes and completes `picks` jobs, here and there by BullMQ's own script, and counts them by name. */
async function serve(worker: Worker, picks: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < picks; i += 1) {
    const job = await take(worker);
    if (!job) break;
    counts[job.name] = (counts[job.name] ?? 0) + 1;
    job.opts.removeOnComplete = i % 3 === 0 ? { age: 1 } : true;
    await job.moveToCompleted(1, 't', false);
  }
  return counts;
}

test('a job that costs five counts for five jobs of its group', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await fill(queue, 'dear', 30, 5);
    await fill(queue, 'plain', 150);
    const served = await serve(lab.hand(), 120);
    expect(served['dear']).toBeGreaterThanOrEqual(19);
    expect(served['dear']).toBeLessThanOrEqual(21);
  });
});

test('what jobs cost is shared by weight, whatever their costs are', async () => {
  const setup = fc.array(
    fc.record({ weight: fc.constantFrom(0.5, 1, 2, 4), cost: fc.constantFrom(0.01, 0.5, 1, 3, 10) }),
    { minLength: 2, maxLength: 5 },
  );
  await fc.assert(
    fc.asyncProperty(setup, async (groups) => {
      await inLab('fair', async (lab) => {
        const queue = lab.queue();
        for (const [i, { weight, cost }] of groups.entries()) {
          await lab.backend(queue).setGroupLimits(`g${i}`, { weight });
          await fill(queue, `g${i}`, 200, cost);
        }
        const served = await serve(lab.hand(), 150);
        // One unit of virtual time is a job of cost 1 at weight 1; each may be ahead by its dearest job and its discount.
        const received = groups.map(({ weight, cost }, i) => ({
          time: ((served[`g${i}`] ?? 0) * cost) / weight,
          most: 2 * Math.max(cost, 1) * (1 / weight),
          all: served[`g${i}`] === 200,
        }));
        for (const one of received)
          for (const other of received)
            if (!one.all && !other.all)
              expect(one.time - other.time).toBeLessThanOrEqual(one.most + other.most);
      });
    }),
    { numRuns: Number(process.env.FC_RUNS ?? 8) },
  );
});

test('a cheap job that comes after a pause costs its group no more than another', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    for (let i = 0; i < 20; i += 1) await fill(queue, `steady${i}`, 8);
    await serve(worker, 40);
    await fill(queue, 'cheap', 1, 0.05);
    let [cheap, others] = [0, 0];
    while (others < 100) {
      if ((await take(worker))?.name !== 'cheap') others += 1;
      else {
        cheap += 1;
        await fill(queue, 'cheap', 1, 0.05);
      }
    }
    // In five rounds a hundred of its jobs cost as much as five of another group. In the half of a round in which nobody
    // else's tag lies it has no turn, as its next job comes when the one before has started.
    expect(cheap).toBeGreaterThan(45);
    expect(cheap).toBeLessThanOrEqual(100);
  });
});

/** Lets an active job look as if it had started so long ago. */
async function age(lab: Lab, job: Job | undefined, ms: number): Promise<void> {
  const key = `${lab.prefix}:q:${job?.id}`;
  const slot = await lab.redis.hget(key, 'slot');
  await lab.redis.hset(
    key,
    'slot',
    (slot ?? '').replace(/^\d+/, (startedAt) => String(Number(startedAt) - ms)),
  );
}

test.each([
  ['the lean finish', true],
  ["BullMQ's finish", { age: 1 }],
])('run time is charged when a job ends, by %s', async (_, removeOnComplete) => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const worker = lab.hand();
    await lab.backend(queue).setGroupLimits('long', { chargeRunMs: 1000 });
    await fill(queue, 'long', 40);
    await fill(queue, 'short', 100);
    let job = await take(worker);
    while (job?.name !== 'long') job = await take(worker);
    await age(lab, job, 20_000);
    job.opts.removeOnComplete = removeOnComplete;
    await job.moveToCompleted(1, 't', false);
    // Twenty jobs more than it had; then turn and turn about again.
    const next = await serve(worker, 20);
    expect(next['long'] ?? 0).toBeLessThanOrEqual(1);
    const later = await serve(worker, 20);
    expect(later['long']).toBeGreaterThanOrEqual(8);
  });
});

test('run time of a group that waits for nothing just then is not forgotten while others wait', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const worker = lab.hand();
    await lab.backend(queue).setGroupLimits('long', { queues: { q: { chargeRunMs: 1000 } } });
    await fill(queue, 'long', 1);
    const job = await take(worker);
    await fill(queue, 'short', 100);
    await age(lab, job, 20_000);
    await job?.moveToCompleted(1, 't', false);
    await fill(queue, 'long', 40);
    expect((await serve(worker, 20))['long'] ?? 0).toBeLessThanOrEqual(1);
  });
});

test('a group whose run time is charged keeps no slot and no state behind', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    await lab.backend(queue).setGroupLimits('long', { chargeRunMs: 1 });
    await fill(queue, 'long', 5);
    await serve(lab.hand(), 10);
    expect(await lab.redis.exists(`${lab.prefix}::fair:slots`, `${lab.prefix}::fair:state:long`)).toBe(0);
  });
});

test.each([0, -1, 1001, Number.NaN, '2', null])('a cost of %p is refused', async (cost) => {
  await inLab('fair', async (lab) => {
    const group = { id: 'g', cost } as never;
    await expect(lab.queue().add('j', {}, { group } as never)).rejects.toThrow('group.cost must be a number');
    await expect(lab.queue().addBulk([{ name: 'j', data: {}, opts: { group } as never }])).rejects.toThrow(
      'cost',
    );
  });
});

test('a charge that is no whole number of ms is refused', async () => {
  await inLab('fair', async (lab) => {
    const limits = { chargeRunMs: 0.5 };
    await expect(lab.backend(lab.queue()).setGroupLimits('g', limits)).rejects.toThrow('chargeRunMs must be');
  });
});

test('delayed and active jobs are counted by group through all their moves', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const worker = lab.hand();
    const later = (id: string, opts: JobsOptions = {}): Promise<Job> =>
      queue.add('j', {}, { delay: HOUR_MS, ...opts, group: { id } } as JobsOptions);
    const counts = async (id: string): Promise<number[]> => {
      const { waiting, blocked, delayed, active } = await lab.backend(queue).countGroup(id);
      return [waiting, blocked, delayed, active];
    };
    const jobs = [await later('a'), await later('a'), await later('b'), await later('a', { priority: 1 })];
    expect(await counts('a')).toEqual([0, 0, 3, 0]);
    await jobs[0]?.promote();
    await jobs[1]?.changeDelay(2 * HOUR_MS);
    expect(await counts('a')).toEqual([1, 0, 2, 0]);
    const active = await take(worker);
    expect(await counts('a')).toEqual([0, 0, 2, 1]);
    await active?.moveToDelayed(Date.now() + HOUR_MS, 't');
    expect(await counts('a')).toEqual([0, 0, 3, 0]);
    await jobs[1]?.remove();
    expect(await lab.backend(queue).failWaiting(jobs[3] as Job, 'no')).toBe(true);
    expect([await counts('a'), await counts('b')]).toEqual([
      [0, 0, 1, 0],
      [0, 0, 1, 0],
    ]);
    await queue.clean(0, 1, 'delayed');
    const [a, b] = [await counts('a'), await counts('b')];
    expect((a[2] ?? 0) + (b[2] ?? 0)).toBe(1);
    await queue.drain(true);
    expect([await counts('a'), await counts('b')]).toEqual([
      [0, 0, 0, 0],
      [0, 0, 0, 0],
    ]);
    await fill(queue, 'a', 3, undefined, 'k');
    expect(await counts('a')).toEqual([3, 2, 0, 0]);
    await lab.redis.zadd(`${lab.prefix}:q:delayed`, 0, 'gone');
    await queue.obliterate({ force: true });
    expect(await lab.redis.exists(`${lab.prefix}:q:fair:d`)).toBe(0);
  });
});

test('delayed jobs that the claims do not know of, as their mark was lost, are found by the next check', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const worker = lab.hand();
    await queue.add('late', {}, { delay: 1 });
    await lab.redis.hdel(`${lab.prefix}:q:meta`, 'fair:delayed');
    await lab.backend(queue).repairSlots();
    await eventually('it is due and found', async () => (await take(worker))?.name === 'late');
  });
});
