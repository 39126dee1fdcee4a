/** What a whole queue or task may do: single situations beside the walk of gates.property.test.ts. */
import { describe, expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import type { FairJobsOptions, Gate } from '../../../queues/fair/index.ts';
import { startEmbeddedRedis } from '../../../src/demo/embedded-redis.ts';
import { eventually } from '../../support/eventually.ts';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';

const inGroup = (id: string, opts: JobsOptions = {}, key?: string): JobsOptions =>
  ({
    ...opts,
    group: { id, ...(key === undefined ? {} : { key }) },
  }) satisfies FairJobsOptions as JobsOptions;

async function fill(queue: Queue, task: string, id: string, count: number): Promise<void> {
  await queue.addBulk(Array.from({ length: count }, () => ({ name: task, data: {}, opts: inGroup(id) })));
}

const take = (worker: Worker): Promise<Job | undefined> => worker.getNextJob('t', { block: false });

async function limit(lab: Lab, kind: Gate['kind'], name: string, m: number | null): Promise<void> {
  const change = m === null ? ({ kind, name, gone: true } as const) : { kind, name, m };
  await lab.backend(lab.queue()).changeGates([change]);
}

/** The groups of the next `count` jobs, each of which ends before the next one starts. */
async function served(worker: Worker, count: number): Promise<string[]> {
  const groups: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const job = await take(worker);
    if (!job) break;
    groups.push((job.opts as FairJobsOptions).group?.id ?? '');
    await job.moveToCompleted('', 't', false);
  }
  return groups;
}

const countOf = (list: readonly string[], item: string): number =>
  list.filter((each) => each === item).length;

test('a backlog of a task that may not run is in nobody else’s way', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await limit(lab, 't', 'video', 0);
    await fill(queue, 'video', 'a', 1000);
    await fill(queue, 'echo', 'a', 1);
    await fill(queue, 'echo', 'b', 1);
    const marker = `${lab.prefix}:q:marker`;
    const names: string[] = [];
    // As a worker does: it looks as long as a marker says so.
    while ((await lab.redis.del(marker)) > 0) names.push((await take(worker))?.name ?? '');
    expect(names.filter(Boolean)).toEqual(['echo', 'echo']);
    // Each look is bounded.
    expect(names.length).toBeGreaterThan(20);
    expect(await queue.getWaitingCount()).toBe(1000);
  });
});

describe('a task that may run one job', () => {
  test('runs jobs of groups by their weights, also when other tasks keep the queue busy', async () => {
    for (const others of [false, true]) {
      await inLab('fair', async (lab) => {
        const [queue, worker] = [lab.queue(), lab.hand()];
        await lab.backend(queue).setGroupLimits('heavy', { weight: 3 });
        await limit(lab, 't', 'video', 1);
        await fill(queue, 'video', 'heavy', 100);
        await fill(queue, 'video', 'light', 100);
        if (others) await fill(queue, 'echo', 'other', 200);
        // One runs while all others of the task come to their turns and are set aside.
        const first = await take(worker);
        while (await take(worker)) if ((await queue.getActiveCount()) > 150) break;
        await first?.moveToCompleted('', 't', false);
        const groups = await served(worker, 60);
        expect(groups).toHaveLength(60);
        const [heavy, light] = [countOf(groups, 'heavy'), countOf(groups, 'light')];
        expect(Math.abs(heavy - 3 * light)).toBeLessThanOrEqual(4);
        if (others) expect(countOf(groups, 'other')).toBeGreaterThan(0);
      });
    }
  });

  test('does so beside a group that has one job at a time, and so leaves the ring empty each time', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await lab.backend(queue).setGroupLimits('heavy', { weight: 3 });
      await limit(lab, 't', 'video', 0);
      await fill(queue, 'video', 'heavy', 100);
      await fill(queue, 'video', 'light', 100);
      while ((await lab.redis.del(`${lab.prefix}:q:marker`)) > 0) expect(await take(worker)).toBeUndefined();
      await limit(lab, 't', 'video', 1);
      const groups: string[] = [];
      for (let i = 0; i < 100; i += 1) {
        if (groups.at(-1) === 'single' || i === 0) await fill(queue, 'echo', 'single', 1);
        groups.push(...(await served(worker, 1)));
      }
      const [heavy, light] = [countOf(groups, 'heavy'), countOf(groups, 'light')];
      expect(Math.abs(heavy - 3 * light)).toBeLessThanOrEqual(4);
      expect(Math.abs(countOf(groups, 'single') - light)).toBeLessThanOrEqual(3);
    });
  });

  test('does so when its jobs take long and others run many meanwhile', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await lab.backend(queue).setGroupLimits('heavy', { weight: 3 });
      await limit(lab, 't', 'video', 0);
      await fill(queue, 'video', 'heavy', 60);
      await fill(queue, 'video', 'light', 60);
      while ((await lab.redis.del(`${lab.prefix}:q:marker`)) > 0) expect(await take(worker)).toBeUndefined();
      await limit(lab, 't', 'video', 1);
      await fill(queue, 'echo', 'other', 400);
      const groups: string[] = [];
      while (groups.length < 40) {
        const job = await take(worker);
        if (job?.name === 'video') {
          groups.push((job.opts as FairJobsOptions).group?.id ?? '');
          // Virtual time goes on by much more than a job of a video's group costs.
          expect(new Set(await served(worker, 8))).toEqual(new Set(['other']));
        }
        await job?.moveToCompleted('', 't', false);
      }
      expect(Math.abs(countOf(groups, 'heavy') - 30)).toBeLessThanOrEqual(2);
    });
  });

  test('is no advantage to a group: it pays for jobs that were set aside as for others', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await limit(lab, 't', 'video', 1);
      await fill(queue, 'video', 'a', 60);
      await fill(queue, 'echo', 'a', 60);
      await fill(queue, 'echo', 'b', 120);
      const groups = await served(worker, 100);
      expect(Math.abs(countOf(groups, 'a') - countOf(groups, 'b'))).toBeLessThanOrEqual(2);
    });
  });

  test('waits for a group whose own limits forbid its job, and nobody else does', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await limit(lab, 't', 'video', 0);
      for (const id of ['paused', 'full', 'free']) await fill(queue, 'video', id, 2);
      expect(await take(worker)).toBeUndefined();
      await lab.backend(queue).pauseGroup('paused');
      await lab.backend(queue).setGroupLimits('full', { maxRunning: 0 });
      await limit(lab, 't', 'video', 1);
      expect(await served(worker, 10)).toEqual(['free', 'free']);
      await lab.backend(queue).resumeGroup('paused');
      expect(await served(worker, 10)).toEqual(['paused', 'paused']);
      await lab.backend(queue).setGroupLimits('full', null);
      expect(await served(worker, 10)).toEqual(['full', 'full']);
    });
  });
});

describe('a job that is set aside', () => {
  /** One job of the task runs, those of `ids` are set aside. */
  async function setAside(
    lab: Lab,
    opts: (id: string) => JobsOptions,
  ): Promise<{ queue: Queue; worker: Worker }> {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await limit(lab, 't', 'video', 0);
    for (const id of ['1', '2', '3']) await queue.add('video', {}, { jobId: `v-${id}`, ...opts(id) });
    expect(await take(worker)).toBeUndefined();
    expect(await lab.redis.hlen(`${lab.prefix}:q:fair:aj`)).toBe(3);
    return { queue, worker };
  }

  test('is a waiting job to everybody who asks', async () => {
    await inLab('fair', async (lab) => {
      const { queue } = await setAside(lab, () => inGroup('a'));
      expect(await queue.getWaitingCount()).toBe(3);
      expect((await queue.getWaiting()).map((job) => job.id).sort()).toEqual(['v-1', 'v-2', 'v-3']);
      expect(await queue.getJobState('v-2')).toBe('waiting');
      expect(await lab.backend(queue).countGroup('a')).toMatchObject({ waiting: 3, aside: 3, blocked: 0 });
      expect(await lab.backend(queue).explainWaiting('a', 'v-3')).toMatchObject({
        place: 2,
        taskGate: { task: 'video', run: 0, max: 0 },
      });
    });
  });

  test('gets another priority, is removed, and is failed before it starts', async () => {
    await inLab('fair', async (lab) => {
      const { queue, worker } = await setAside(lab, () => inGroup('a', { priority: 5 }));
      await (await queue.getJob('v-3'))?.changePriority({ priority: 1 });
      expect(await take(worker)).toBeUndefined();
      expect(await queue.remove('v-1')).toBe(1);
      const second = (await queue.getJob('v-2')) as Job;
      expect(await lab.backend(queue).failWaiting(second, 'no')).toBe(true);
      expect(await queue.getFailedCount()).toBe(1);
      await limit(lab, 't', 'video', null);
      expect((await take(worker))?.id).toBe('v-3');
      expect(await take(worker)).toBeUndefined();
      expect(await lab.redis.exists(`${lab.prefix}:q:fair:aj`, `${lab.prefix}:q:fair:at`)).toBe(0);
    });
  });

  test('keeps its key: none of its key overtakes it, and nobody takes the key from it', async () => {
    await inLab('fair', async (lab) => {
      const { queue, worker } = await setAside(lab, (id) => inGroup('a', {}, `key-${id}`));
      await queue.add('echo', {}, { ...inGroup('a', {}, 'key-1'), jobId: 'later' });
      expect(await lab.backend(queue).repairSlots()).toEqual({ released: 0, adopted: 0, keys: 0, parked: 0 });
      expect(await take(worker)).toBeUndefined();
      expect(await queue.remove('v-1')).toBe(1);
      // Its key is free now.
      expect((await take(worker))?.id).toBe('later');
    });
  });

  test('starts before later ones of its task and group, also when it is the turn of one of those', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      const add = (name: string, id: string, jobId: string, priority: number): Promise<Job> =>
        queue.add(name, {}, { ...inGroup(id, { priority }), jobId });
      await limit(lab, 't', 'video', 0);
      await add('video', 'a', 'a-first', 5);
      await add('video', 'b', 'b-first', 5);
      expect(await take(worker)).toBeUndefined();
      // Group a would be next, but its own next job is another one; group b comes to its turn with a later one.
      await add('video', 'b', 'b-later', 9);
      await add('echo', 'a', 'a-urgent', 1);
      await limit(lab, 't', 'video', 1);
      expect((await take(worker))?.id).toBe('b-first');
      expect((await take(worker))?.id).toBe('a-urgent');
      expect(await take(worker)).toBeUndefined();
      expect(await lab.redis.hkeys(`${lab.prefix}:q:fair:aj`)).toEqual(
        expect.arrayContaining(['a-first', 'b-later']),
      );
    });
  });

  test('goes with the queue, of which nothing is left', async () => {
    await inLab('fair', async (lab) => {
      const { queue } = await setAside(lab, () => inGroup('a'));
      await queue.pause();
      await queue.obliterate();
      const left = await lab.keys();
      expect(left.filter((key) => key.startsWith(`${lab.prefix}:q:`))).toEqual([]);
      expect(await lab.redis.exists(`${lab.prefix}::fair:aside:video`)).toBe(0);
      // A queue that comes back is under the same gates.
      const again = lab.queue();
      await again.add('video', {}, inGroup('a'));
      expect(await take(lab.hand())).toBeUndefined();
    });
  });

  test('starts though its hash or its queue was lost, and blocks nobody', async () => {
    await inLab('fair', async (lab) => {
      const { queue, worker } = await setAside(lab, (id) => inGroup(id));
      await lab.redis.del(`${lab.prefix}:q:v-1`);
      await lab.redis.del(`${lab.prefix}:q:fair:q::\0a5:video2`);
      await limit(lab, 't', 'video', 1);
      const ids: unknown[] = [];
      for (let i = 0; i < 4; i += 1) {
        const job = await take(worker);
        ids.push(job?.id);
        await lab.redis.lrem(`${lab.prefix}:q:active`, 0, job?.id ?? '');
        await lab.backend(queue).repairSlots();
      }
      expect(ids).toContain('v-3');
      expect(ids).not.toContain('v-2');
    });
  });
});

test('a queue that is new in a prefix is under the gates of tasks from its first job on', async () => {
  await inLab('fair', async (lab) => {
    await limit(lab, 't', 'video', 1);
    const [one, two] = [lab.queue('one'), lab.queue('two')];
    await lab.backend(one).setGroupLimits('limited', { maxRunning: 5 });
    await one.add('video', {}, inGroup('plain'));
    await two.add('video', {}, inGroup('limited'));
    const third = lab.queue('three');
    const later = await third.add('video', {}, inGroup('plain', { delay: 3_600_000 }));
    await later.promote();
    const started = [await take(lab.hand('three')), await take(lab.hand('one')), await take(lab.hand('two'))];
    expect(started.map(Boolean)).toEqual([true, false, false]);
  });
});

describe('workers', () => {
  test('of every queue in which jobs are set aside hear of one of their task that has ended', async () => {
    await inLab('fair', async (lab) => {
      await limit(lab, 't', 'video', 1);
      const names = ['one', 'two'];
      for (const name of names) await fill(lab.queue(name), 'video', 'a', 2);
      const [one, two] = [lab.hand('one'), lab.hand('two')];
      const job = await take(one);
      expect([await take(one), await take(two)]).toEqual([undefined, undefined]);
      const markers = names.map((name) => `${lab.prefix}:${name}:marker`);
      await lab.redis.del(...markers);
      await job?.moveToCompleted('', 't', false);
      expect(await Promise.all(markers.map((marker) => lab.redis.zscore(marker, '0')))).toEqual(['0', '0']);
    });
  });

  test('hear of a slot of a group that comes free, for what of it is set aside', async () => {
    await inLab('fair', async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await lab.backend(queue).setGroupLimits('narrow', { maxRunning: 1 });
      await limit(lab, 't', 'video', 0);
      await fill(queue, 'video', 'narrow', 1);
      expect(await take(worker)).toBeUndefined();
      await fill(queue, 'echo', 'narrow', 1);
      const job = await take(worker);
      await limit(lab, 't', 'video', 1);
      // The task may run it, its group may not.
      expect([job?.name, await take(worker)]).toEqual(['echo', undefined]);
      await lab.redis.del(`${lab.prefix}:q:marker`);
      await job?.moveToCompleted('', 't', false);
      expect(await lab.redis.zscore(`${lab.prefix}:q:marker`, '0')).toBe('0');
      expect((await take(worker))?.name).toBe('video');
    });
  });

  test.each(['q', 't'] as const)('keep a rate that they are told of by time alone: %s', async (kind) => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const name = kind === 'q' ? 'q' : 'video';
      await lab.backend(queue).changeGates([{ kind, name, e: 100_000, b: 2, a: 2, tokens: 2 }]);
      await fill(queue, 'video', 'a', 12);
      const startedAt = performance.now();
      const done: number[] = [];
      // They would look by themselves after longer than this waits.
      for (let i = 0; i < 2; i += 1)
        lab.worker('q', async () => void done.push(performance.now() - startedAt), { drainDelay: 600 });
      await eventually('all are done', () => done.length === 12);
      expect(done.at(-1)).toBeGreaterThanOrEqual(990);
    });
  });

  test('hear of a global concurrency that is raised or removed', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      await queue.setGlobalConcurrency(1);
      await fill(queue, 'echo', 'a', 4);
      let [running, release] = [0, () => undefined as void];
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      for (let i = 0; i < 3; i += 1) lab.worker('q', async () => ((running += 1), held), { drainDelay: 600 });
      await eventually('one runs', () => running === 1);
      await eventually('nobody looks', async () => (await lab.redis.exists(`${lab.prefix}:q:marker`)) === 0);
      await queue.setGlobalConcurrency(2);
      await eventually('two run', () => running === 2);
      await queue.removeGlobalConcurrency();
      await eventually('three run', () => running === 3);
      release();
      await eventually('all are done', async () => (await queue.getCompletedCount()) === 4);
    });
  });
});

test('who has no gate does not pay a call for those that others have', async () => {
  const redis = await startEmbeddedRedis();
  try {
    const calls = async (lab: Lab): Promise<number> => {
      const stats = await lab.redis.info('commandstats');
      return [...stats.matchAll(/cmdstat_(?!info|evalsha|eval)[^:]+:calls=(\d+)/g)].reduce(
        (sum, [, n]) => sum + Number(n),
        0,
      );
    };
    const costs: number[] = [];
    for (const gated of [false, true]) {
      await inLab(
        'fair',
        async (lab) => {
          const [queue, worker] = [lab.queue(), lab.hand()];
          await queue.waitUntilReady();
          await worker.waitUntilReady();
          await fill(queue, 'echo', 'a', 1);
          const first = (await take(worker)) as Job;
          if (gated) {
            await limit(lab, 'q', 'another', 1);
            await limit(lab, 't', 'video', 1);
          }
          const before = await calls(lab);
          await fill(queue, 'echo', 'a', 20);
          await first.moveToCompleted('', 't', false);
          for (let i = 0; i < 20; i += 1) await (await take(worker))?.moveToCompleted('', 't', false);
          costs.push((await calls(lab)) - before);
        },
        redis.url,
      );
    }
    expect(costs[0]).toBeGreaterThan(200);
    expect(costs[1]).toBe(costs[0]);
  } finally {
    await redis.stop();
  }
});

test('a gate says which starts a smaller part of its rate took from it', async () => {
  await inLab('fair', async (lab) => {
    const backend = lab.backend(lab.queue());
    // A start an hour, so that none comes back meanwhile.
    const rate = { kind: 'q', name: 'q', e: 3_600_000_000, b: 4 } as const;
    await backend.changeGates([{ ...rate, a: 4, tokens: 4 }]);
    const [smaller] = (await backend.changeGates([{ ...rate, a: 1 }])) ?? [];
    expect(smaller?.tokens).toBeCloseTo(1, 2);
    expect(smaller?.surplus).toBeCloseTo(3, 2);
    const [wider] = (await backend.changeGates([{ ...rate, a: 4 }])) ?? [];
    expect([wider?.surplus, Math.round(wider?.tokens ?? 0)]).toEqual([0, 1]);
  });
});
