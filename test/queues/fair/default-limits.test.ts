/** Limits of `*` while not all groups know of them: any number of groups may, so one script cannot tell them all. */
import { expect, test } from '@jest/globals';
import type { Job, JobsOptions, Queue, Worker } from 'bullmq';
import { createFairBackend } from '../../../queues/fair/index.ts';
import { inLab, withoutLean } from './bullmq-lab.ts';
import type { Flavour, Lab } from './bullmq-lab.ts';

const plodding = createFairBackend();
const FLAVOURS: [string, Flavour | typeof plodding][] = [
  ['lean scripts', 'fair'],
  ["BullMQ's scripts", (...args) => withoutLean(plodding(...args))],
];

const groups = (count: number): string[] => Array.from({ length: count }, (_, n) => `g${n}`);

async function fill(queue: Queue, names: string[], each: number): Promise<void> {
  const jobs = names.flatMap((id) => Array.from({ length: each }, () => id));
  await queue.addBulk(
    jobs.map((id) => ({
      name: id,
      data: {},
      opts: { removeOnComplete: true, group: { id } } as JobsOptions,
    })),
  );
}

/** The next job; a worker asks again while the marker tells it to. */
async function take(lab: Lab, queue: Queue, worker: Worker): Promise<Job | undefined> {
  for (;;) {
    await lab.redis.zrem(queue.toKey('marker'), '0');
    const job = (await worker.getNextJob('t', { block: false })) as Job | undefined;
    if (job || (await lab.redis.zscore(queue.toKey('marker'), '0')) === null) return job;
  }
}

async function takeAll(lab: Lab, queue: Queue, worker: Worker): Promise<Job[]> {
  const taken: Job[] = [];
  for (let job = await take(lab, queue, worker); job; job = await take(lab, queue, worker)) taken.push(job);
  return taken;
}

const namesOf = (jobs: Job[]): string[] => jobs.map((job) => job.name).sort();

/** Changes something as if the process died, or was slow, after `scripts` of those that tell the groups. */
async function halfway(lab: Lab, queue: Queue, scripts: number, change: () => Promise<void>): Promise<void> {
  const backend = lab.backend(queue);
  const execute = backend.execCommand.bind(backend);
  let left = scripts;
  backend.execCommand = (client, command, args: unknown[]) => {
    if (command === 'settleGroups' && left-- <= 0) return Promise.reject(new Error('it died'));
    return execute(client, command, args);
  };
  await expect(change()).rejects.toThrow('it died');
  backend.execCommand = execute;
}

const isUnsettled = async (lab: Lab, queue: Queue): Promise<boolean> =>
  (await lab.redis.hexists(queue.toKey('meta'), 'fair:unsettled')) === 1;

test.each(FLAVOURS)('a limit holds from the next pick on, whoever knows of it: %s', async (_, flavour) => {
  await inLab(flavour, async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const names = groups(30);
    await fill(queue, names, 4);
    // Started before, so it counts.
    const first = await take(lab, queue, worker);
    await halfway(lab, queue, 1, () => lab.backend(queue).setGroupLimits('*', { maxRunning: 1 }));
    const running = [first as Job, ...(await takeAll(lab, queue, worker))];
    expect(namesOf(running)).toEqual([...names].sort());
    // One goes on for one that ended, in whatever way it is asked for.
    await running[3]?.moveToCompleted(1, 't', false);
    expect(namesOf(await takeAll(lab, queue, worker))).toEqual([running[3]?.name]);
    const next = (await running[5]?.moveToCompleted(1, 't', true)) as [{ name: string }] | undefined;
    expect(next?.[0].name).toBe(running[5]?.name);
    expect(await lab.redis.hlen(`${lab.prefix}::fair:slots`)).toBe(names.length);
  });
});

test.each(FLAVOURS)(
  'nothing starts after the pause of all, however many there are: %s',
  async (_, flavour) => {
    await inLab(flavour, async (lab) => {
      const [queue, worker] = [lab.queue(), lab.hand()];
      await fill(queue, groups(40), 2);
      const first = await take(lab, queue, worker);
      await halfway(lab, queue, 0, () => lab.backend(queue).pauseGroup('*'));
      const next = (await first?.moveToCompleted(1, 't', true)) as unknown[] | undefined;
      expect(next?.[1] || null).toBeNull();
      expect(await takeAll(lab, queue, worker)).toEqual([]);
      await lab.backend(queue).resumeGroup('*');
      expect(await takeAll(lab, queue, worker)).toHaveLength(79);
    });
  },
);

test('whoever has limits of its own keeps them, and goes on', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await lab.backend(queue).setGroupLimits('free', { weight: 2 });
    await lab.backend(queue).setGroupLimits('two', { maxRunning: 2 });
    await fill(queue, [...groups(20), 'free', 'two'], 5);
    await halfway(lab, queue, 0, () => lab.backend(queue).pauseGroup('*'));
    const free = Array.from({ length: 5 }, () => 'free');
    expect(namesOf(await takeAll(lab, queue, worker))).toEqual([...free, 'two', 'two']);
  });
});

test('a rate of all spends a token for each start', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const names = groups(12);
    await fill(queue, names, 5);
    const rate = { limit: 2, periodMs: 3_600_000, burst: 2 };
    await halfway(lab, queue, 0, () => lab.backend(queue).setGroupLimits('*', { rate }));
    expect(namesOf(await takeAll(lab, queue, worker))).toEqual([...names, ...names].sort());
  });
});

test('weights of all count from the next pick on', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await lab.backend(queue).setGroupLimits('own', { weight: 1 });
    await fill(queue, ['own', 'other'], 100);
    await halfway(lab, queue, 0, () => lab.backend(queue).setGroupLimits('*', { weight: 4 }));
    const started: string[] = [];
    for (let n = 0; n < 50; n += 1) started.push((await take(lab, queue, worker))?.name ?? '');
    const others = started.filter((name) => name === 'other').length;
    expect(others).toBeGreaterThanOrEqual(38);
    expect(others).toBeLessThanOrEqual(42);
  });
});

test('a check of slots goes on where the one who changed them died', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const backend = lab.backend(queue);
    await fill(queue, groups(30), 1);
    await backend.pauseGroup('*');
    await halfway(lab, queue, 1, () => backend.resumeGroup('*'));
    // Those that are parked without end hear of it from nobody else.
    expect((await takeAll(lab, queue, worker)).length).toBeLessThan(30);
    expect(await isUnsettled(lab, queue)).toBe(true);
    await backend.repairSlots();
    expect(await isUnsettled(lab, queue)).toBe(false);
    expect(await takeAll(lab, queue, worker)).not.toEqual([]);
    expect(await queue.getJobCounts('waiting', 'active')).toEqual({ waiting: 0, active: 30 });
  });
});

test('who has told all groups of one change does not end what a later one has begun', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    const backend = lab.backend(queue);
    await fill(queue, groups(20), 2);
    const mark = async (): Promise<string> =>
      (await lab.redis.hget(queue.toKey('meta'), 'fair:unsettled')) ?? '';
    await halfway(lab, queue, 0, () => backend.setGroupLimits('*', { weight: 2 }));
    const earlier = await mark();
    await halfway(lab, queue, 0, () => backend.pauseGroup('*'));
    const args = [queue.toKey('fair:idx'), queue.toKey(''), '0', 1000, earlier];
    expect(await backend.execCommand(await backend.client, 'settleGroups', args)).toBe('0');
    expect(await isUnsettled(lab, queue)).toBe(true);
    await backend.repairSlots();
    expect(await isUnsettled(lab, queue)).toBe(false);
    expect(await takeAll(lab, queue, worker)).toEqual([]);
  });
});

test('a queue without waiting jobs gets no mark of it', async () => {
  await inLab('fair', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand()];
    await fill(queue, ['a'], 1);
    await (await take(lab, queue, worker))?.moveToCompleted(1, 't', false);
    const marked: boolean[] = [];
    const backend = lab.backend(queue);
    const execute = backend.execCommand.bind(backend);
    backend.execCommand = async (client, command, args: unknown[]) => {
      if (command === 'settleGroups') marked.push(await isUnsettled(lab, queue));
      const reply: unknown = await execute(client, command, args);
      return reply;
    };
    await backend.setGroupLimits('*', { maxRunning: 1 });
    expect(marked).toEqual([false]);
  });
});
