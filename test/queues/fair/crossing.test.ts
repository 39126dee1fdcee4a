import { describe, expect, test } from '@jest/globals';
import type { Job, JobsOptions } from 'bullmq';
import { createFairBackend } from '../../../queues/fair/index.ts';
import { inLab } from './bullmq-lab.ts';
import type { Lab } from './bullmq-lab.ts';
import { attempt, overview } from './cases/case.ts';
import { brokenInvariants, fairState } from './keyspace.ts';

const inGroup = (id: unknown, opts: JobsOptions = {}): JobsOptions =>
  ({ ...opts, group: { id } }) as JobsOptions;

async function expectSound(lab: Lab, plainFirst = true): Promise<void> {
  for (const name of lab.queueNames) {
    const state = await fairState(lab.redis, `${lab.prefix}:${name}:`);
    expect(brokenInvariants(state, plainFirst)).toEqual([]);
  }
}

describe('parents in other queues', () => {
  test('a released parent waits in its own group, of its own queue', async () => {
    await inLab('fair', async (lab) => {
      const [parents, kids] = [lab.queue('parents'), lab.queue('kids')];
      await lab.addFlow({
        name: 'p',
        queueName: 'parents',
        opts: inGroup('acme'),
        children: [
          { name: 'k1', queueName: 'kids', opts: inGroup('other') },
          { name: 'k2', queueName: 'kids', opts: inGroup('acme') },
        ],
      });
      expect(await lab.backend(kids).getWaitingInGroup('other')).toEqual(['k1']);
      expect((await lab.backend(parents).countGroup('acme')).waiting).toBe(0);
      await lab.work(2, undefined, { queue: 'kids' });
      expect(await lab.backend(parents).getWaitingInGroup('acme')).toEqual(['p']);
      expect(await lab.backend(kids).getRunnableWeight()).toBe(0);
      expect(await lab.backend(parents).getRunnableWeight()).toBe(1);
      await expectSound(lab);
    });
  });

  test('a prioritized parent, and one released by the removal of its child', async () => {
    await inLab('fair', async (lab) => {
      const parents = lab.queue('parents');
      const child = { name: 'k', queueName: 'kids' };
      const one = await lab.addFlow({
        name: 'one',
        queueName: 'parents',
        opts: inGroup('acme', { priority: 4 }),
        children: [{ ...child, name: 'k1' }],
      });
      const two = await lab.addFlow({
        name: 'two',
        queueName: 'parents',
        opts: inGroup('acme'),
        children: [{ ...child, name: 'k2' }],
      });
      lab.queue('kids');
      await lab.work(2, undefined, { queue: 'kids' });
      expect([await one.job.getState(), await two.job.getState()]).toEqual(['prioritized', 'waiting']);
      expect(await lab.backend(parents).getWaitingInGroup('acme')).toEqual(['two', 'one']);
      const three = await lab.addFlow({
        name: 'three',
        queueName: 'parents',
        opts: inGroup('new'),
        children: [{ ...child, name: 'k3' }],
      });
      await three.children?.[0]?.job.remove();
      expect(await lab.backend(parents).getWaitingInGroup('new')).toEqual(['three']);
      await expectSound(lab);
    });
  });
});

describe('weights', () => {
  test('reach every queue of a prefix while the group is in the ring, and hold for the next visit', async () => {
    await inLab('fair', async (lab) => {
      const [one, two] = [lab.queue('one'), lab.queue('two')];
      for (const queue of [one, two]) {
        for (const id of ['heavy', 'light']) {
          await queue.addBulk(Array.from({ length: 60 }, () => ({ name: id, data: {}, opts: inGroup(id) })));
        }
      }
      await lab.backend(one).setGroupLimits('heavy', { weight: 3 });
      for (const queue of [one, two]) {
        expect(await lab.backend(queue).getRunnableWeight()).toBe(4);
        const names = await lab.pickAll(queue.name, 40);
        const heavy = names.filter((name) => name === 'heavy').length;
        expect([29, 30, 31]).toContain(heavy);
      }
      await lab.pickAll('one');
      await one.add('again', {}, inGroup('heavy'));
      expect(await lab.backend(one).getRunnableWeight()).toBe(3);
      await expectSound(lab);
    });
  });

  test.each([0, -1, NaN, Infinity, 1001, 0.0001])('%d is refused', async (weight) => {
    await inLab('fair', async (lab) => {
      await expect(lab.backend(lab.queue()).setGroupLimits('a', { weight })).rejects.toThrow(RangeError);
    });
  });
});

describe('failWaiting', () => {
  test.each<[string, JobsOptions]>([
    ['waiting', {}],
    ['prioritized', { priority: 3 }],
    ['delayed', { delay: 1_000_000 }],
  ])('fails a %s job at once, without an attempt', async (state, opts) => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const job = await queue.add('a', {}, inGroup('g', opts));
      expect(await job.getState()).toBe(state);
      expect(await lab.backend(queue).failWaiting(job, 'too late')).toBe(true);
      const stored = await queue.getJob(job.id ?? '');
      expect([await job.getState(), stored?.failedReason, stored?.attemptsMade]).toEqual([
        'failed',
        'too late',
        0,
      ]);
      expect(await queue.getJobCounts('wait', 'prioritized', 'delayed', 'active')).toEqual({
        wait: 0,
        prioritized: 0,
        delayed: 0,
        active: 0,
      });
      expect(await lab.redis.exists(`${lab.prefix}:q:${job.id}:lock`)).toBe(0);
      expect(await lab.backend(queue).failWaiting(job, 'again')).toBe(false);
      await expectSound(lab);
    });
  });

  test('fails a parent that waits for children, and a child fails its parent', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue('parents');
      const kids = lab.queue('kids');
      const tree = await lab.addFlow({
        name: 'p',
        queueName: 'parents',
        opts: inGroup('g'),
        children: [{ name: 'k', queueName: 'kids', opts: inGroup('g', { failParentOnFailure: true }) }],
      });
      expect(await lab.backend(kids).failWaiting(tree.children?.[0]?.job as Job, 'cancelled')).toBe(true);
      await lab.work(1, undefined, { queue: 'parents' });
      expect(await tree.job.getState()).toBe('failed');

      const other = await lab.addFlow({
        name: 'p2',
        queueName: 'parents',
        children: [{ name: 'k2', queueName: 'kids' }],
      });
      expect(await other.job.getState()).toBe('waiting-children');
      expect(await lab.backend(queue).failWaiting(other.job, 'cancelled')).toBe(true);
      expect(await other.job.getState()).toBe('failed');
      await lab.work(1, undefined, { queue: 'kids' });
      expect(await other.job.getState()).toBe('failed');
      await expectSound(lab);
    });
  });

  test('leaves active, finished and unknown jobs alone', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const job = await queue.add('a', {}, inGroup('g'));
      const active = await lab.hand().getNextJob('t');
      expect(await lab.backend(queue).failWaiting(job, 'no')).toBe(false);
      expect(await job.getState()).toBe('active');
      await active.moveToCompleted(1, 't', false);
      expect(await lab.backend(queue).failWaiting(job, 'no')).toBe(false);
      await job.remove();
      expect(await lab.backend(queue).failWaiting(job, 'no')).toBe(false);
      expect(await lab.redis.exists(`${lab.prefix}:q:${job.id}`)).toBe(0);
    });
  });

  test('follows removeOnFail of the job, as any failure does', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const job = await queue.add('a', {}, inGroup('g', { removeOnFail: true }));
      expect(await lab.backend(queue).failWaiting(job, 'no')).toBe(true);
      expect(await queue.getFailedCount()).toBe(0);
    });
  });

  test('emits the event of a failure', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const job = await queue.add('a', {}, inGroup('g'));
      await lab.backend(queue).failWaiting(job, 'no');
      const events = await lab.events();
      expect(events).toContain(`event failed jobId ${job.id} failedReason no prev active`);
    });
  });
});

describe('hostile ids', () => {
  const groups = [
    '',
    'a:b',
    '*',
    '%',
    '%s%d',
    'line\nfeed',
    '__proto__',
    'ünï☃',
    '[a-z]',
    ' ',
    '1:1:0:0:x',
    '"',
    "'",
    '\\',
  ];

  test('groups of any name are served and leave nothing', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      for (const id of groups) {
        await lab.backend(queue).setGroupLimits(id, { weight: 2 });
        await queue.add('j', {}, inGroup(id));
        await queue.add('p', {}, inGroup(id, { priority: 2 }));
        await queue.add('d', {}, inGroup(id, { delay: 1 }));
        await (await queue.add('r', {}, inGroup(id))).remove();
        expect((await lab.backend(queue).countGroup(id)).waiting).toBeGreaterThanOrEqual(2);
        await expectSound(lab);
      }
      expect((await lab.work(groups.length * 3)).length).toBe(groups.length * 3);
      expect((await lab.keys()).filter((key) => key.includes(':q:fair:'))).toEqual([]);
    });
  });

  test('a group id with a NUL character does not stop the queue', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const added = await attempt(() => queue.add('nul', {}, inGroup('a\0b')));
      await queue.add('plain', {});
      const picked = await attempt(() => lab.pickAll());
      expect(picked).toEqual(typeof added === 'string' ? ['plain'] : ['nul', 'plain']);
    });
  });

  test.each([[0], [7], [1.5], [true], [null], [undefined], [{}], [['a']], [{ a: 1 }]])(
    'group id %j',
    async (id) => {
      await inLab('fair', async (lab) => {
        const queue = lab.queue();
        await attempt(() => queue.add('a', {}, inGroup(id)));
        await attempt(() => queue.add('b', {}, inGroup(id, { priority: 1 })));
        await expectSound(lab);
        const waiting = await queue.getJobs(['wait', 'prioritized']);
        for (const job of waiting.slice(1)) expect(await attempt(() => job.remove())).toBe('nothing');
        expect((await lab.pickAll()).length).toBe(Math.min(1, waiting.length));
        await expectSound(lab);
      });
    },
  );

  test.each([[null], ['g'], [7], [[]], [{}]])('option group %j is refused by every way in', async (group) => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      const opts = { group } as JobsOptions;
      await expect(queue.add('a', {}, opts)).rejects.toThrow(TypeError);
      await expect(queue.addBulk([{ name: 'a', data: {}, opts }])).rejects.toThrow(TypeError);
      await expect(queue.upsertJobScheduler('s', { every: 1000 }, { name: 'a', opts })).rejects.toThrow(
        TypeError,
      );
      expect(await queue.getJobs()).toEqual([]);
    });
  });

  test('a job id like a key of the fair backend does not break the queue', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      await queue.add('a', {}, inGroup('x'));
      await attempt(() => queue.add('b', {}, { jobId: 'fair:q:x' }));
      await attempt(() => queue.add('c', {}, { jobId: 'fair:q:y' }));
      await queue.add('d', {}, inGroup('y'));
      expect(await lab.pickAll()).toEqual(expect.arrayContaining(['a', 'd']));
    });
  });
});

describe('jobs whose hash has vanished', () => {
  test('a lost id that is added again, with another priority, is counted once', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      for (const [i, [first, second]] of [
        [inGroup('g', { priority: 2 }), inGroup('g')],
        [inGroup('g'), inGroup('g', { priority: 2 })],
      ].entries()) {
        const jobId = `lost-${i}`;
        await queue.add('a', {}, { ...first, jobId });
        await lab.redis.del(`${lab.prefix}:q:${jobId}`);
        await queue.add('b', {}, { ...second, jobId });
        const state = await fairState(lab.redis, `${lab.prefix}:q:`);
        expect([i, brokenInvariants(state)]).toEqual([i, []]);
      }
    });
  });

  test('a group queue that was lost does not stop the others', async () => {
    await inLab('fair', async (lab) => {
      const queue = lab.queue();
      await queue.add('a', {}, inGroup('lost'));
      await queue.add('b', {}, inGroup('kept'));
      await lab.redis.del(`${lab.prefix}:q:fair:q::lost`);
      expect(await attempt(() => lab.pickAll())).toEqual(['b']);
    });
  });
});

describe('jobs without priority last', () => {
  test('run after the prioritized ones of their group; every getter and count agrees', async () => {
    await inLab(createFairBackend({ unprioritized: 'last' }), async (lab) => {
      const queue = lab.queue();
      await queue.add('plain', {}, inGroup('g'));
      await queue.add('p9', {}, inGroup('g', { priority: 9 }));
      await queue.add('p1', {}, inGroup('g', { priority: 1 }));
      await queue.add('lifo', {}, inGroup('g', { lifo: true }));
      await expectSound(lab, false);
      expect(await queue.getJobCounts('wait', 'prioritized')).toEqual({ wait: 2, prioritized: 2 });
      expect((await overview(queue)) as object).toMatchObject({ paused: false });
      expect(await lab.pickAll()).toEqual(['p1', 'p9', 'lifo', 'plain']);
    });
  });

  test('a priority beyond the limit is refused and corrupts no count', async () => {
    await inLab(createFairBackend({ unprioritized: 'last' }), async (lab) => {
      const queue = lab.queue();
      await attempt(() => queue.add('far', {}, inGroup('g', { priority: 1_000_000 })));
      await queue.add('plain', {}, inGroup('g'));
      await expectSound(lab, false);
    });
  });
});

test('a scheduler that changes the group of its waiting job moves the job', async () => {
  await inLab('fair', async (lab) => {
    const queue = lab.queue();
    const every = 3_600_000;
    await queue.upsertJobScheduler('s', { every }, { name: 'a', opts: inGroup('one') });
    await queue.upsertJobScheduler('s', { every }, { name: 'b', opts: inGroup('two') });
    await queue.upsertJobScheduler('s', { every }, { name: 'c', opts: inGroup('three', { priority: 2 }) });
    const groups = [...(await fairState(lab.redis, `${lab.prefix}:q:`)).groups.keys()];
    const [job] = await queue.getJobs(['wait', 'prioritized', 'delayed']);
    if (groups.length > 0) expect(groups).toEqual(['three']);
    expect(await lab.redis.hget(`${lab.prefix}:q:${job?.id}`, 'opts')).toContain('"three"');
    await expectSound(lab);
  });
});
