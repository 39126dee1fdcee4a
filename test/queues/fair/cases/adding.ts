import { eventually } from '../../../support/eventually.ts';
import { attempt, named, overview } from './case.ts';
import type { Case } from './case.ts';

/** Ways into the queue and places in it. */
export const adding: Record<string, Case> = {
  'first in, first out': async (lab) => {
    const queue = lab.queue();
    for (const name of ['a', 'b', 'c', 'd']) await queue.add(name, { name });
    const before = await overview(queue);
    return { before, order: await lab.work(4) };
  },

  'last in, first out, mixed with first in': async (lab) => {
    const queue = lab.queue();
    await queue.add('a', {});
    await queue.add('b', {}, { lifo: true });
    await queue.add('c', {});
    await queue.add('d', {}, { lifo: true });
    return { before: await overview(queue), order: await lab.work(4) };
  },

  'priorities: order, counts per priority': async (lab) => {
    const queue = lab.queue();
    const priorities = [5, 1, 0, 3, 5, 1, 2097151, 0, 3];
    for (const [i, priority] of priorities.entries()) await queue.add(`${i}p${priority}`, {}, { priority });
    return {
      before: await overview(queue),
      counts: await queue.getCountsPerPriority([0, 1, 3, 4, 5, 2097151]),
      count: await queue.count(),
      order: await lab.work(priorities.length),
      after: await queue.getCountsPerPriority([0, 1, 3]),
    };
  },

  'a prioritized job that is also lifo': async (lab) => {
    const queue = lab.queue();
    await queue.add('a', {}, { priority: 2 });
    await queue.add('b', {}, { priority: 2, lifo: true });
    await queue.add('c', {}, { priority: 2 });
    return lab.work(3);
  },

  'bad priorities are refused': async (lab) => {
    const queue = lab.queue();
    return [
      await attempt(() => queue.add('a', {}, { priority: 1.5 })),
      await attempt(() => queue.add('a', {}, { priority: 2097152 })),
      await queue.getJobCounts(),
    ];
  },

  'changePriority: up, down, to 0, from 0, lifo': async (lab) => {
    const queue = lab.queue();
    const jobs = await queue.addBulk([
      ...named('a', 'b', 'c', 'd'),
      { name: 'p1', data: {}, opts: { priority: 1 } },
      { name: 'p2', data: {}, opts: { priority: 2 } },
      { name: 'p2b', data: {}, opts: { priority: 2 } },
      { name: 'p3', data: {}, opts: { priority: 3 } },
    ]);
    const [a, b, , d, p1, , p2b, p3] = jobs;
    await b?.changePriority({ priority: 2 });
    await d?.changePriority({ priority: 2, lifo: true });
    await p1?.changePriority({ priority: 0 });
    await p3?.changePriority({ priority: 0, lifo: true });
    await p2b?.changePriority({ priority: 1 });
    await a?.changePriority({ lifo: true });
    return {
      before: await overview(queue),
      counts: await queue.getCountsPerPriority([0, 1, 2, 3]),
      order: await lab.work(8),
      late: await attempt(async () => a?.changePriority({ priority: 4 })),
    };
  },

  'changePriority of a job that is not there': async (lab) => {
    const queue = lab.queue();
    const job = await queue.add('a', {});
    await job.remove();
    return attempt(() => job.changePriority({ priority: 1 }));
  },

  'addBulk keeps the order; every kind in one call': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk([
      ...named('a', 'b'),
      { name: 'late', data: {}, opts: { delay: 60_000 } },
      { name: 'lifo', data: {}, opts: { lifo: true } },
      { name: 'urgent', data: {}, opts: { priority: 1 } },
      ...named('c'),
    ]);
    return { before: await overview(queue), order: await lab.work(5), after: await overview(queue) };
  },

  'custom ids, duplicates, generated ids among them': async (lab) => {
    const queue = lab.queue();
    const ids: unknown[] = [];
    for (const jobId of ['x', '__proto__', 'ü', 'x', 'repeat:x:1', '*', 'a b', '[%d]', 'constructor']) {
      ids.push((await queue.add(`n-${jobId}`, { jobId }, { jobId })).id);
    }
    ids.push((await queue.add('generated', {})).id);
    ids.push(await attempt(() => queue.add('n', {}, { jobId: '12' })));
    ids.push(await attempt(() => queue.add('n', {}, { jobId: 'a:b' })));
    ids.push((await queue.add('generated', {})).id);
    const before = await overview(queue);
    const order = await lab.work(10);
    ids.push((await queue.add('again', {}, { jobId: 'x' })).id);
    return { ids, before, order, counts: await queue.getJobCounts() };
  },

  'ids that end like the names of lists': async (lab) => {
    const queue = lab.queue();
    const ids = [];
    for (const jobId of ['a:b:wait', 'a:b:prioritized', 'a:wait:b', 'await', 'x-prioritized']) {
      ids.push(await attempt(async () => (await queue.add(jobId, {}, { jobId })).id));
    }
    return { ids, order: await attempt(() => lab.pickAll()), counts: await queue.getJobCounts() };
  },

  'delayed jobs run when they are due': async (lab) => {
    const queue = lab.queue();
    await queue.add('b', {}, { delay: 60 });
    await queue.add('c', {}, { delay: 61, priority: 3 });
    await queue.add('a', {});
    const before = await overview(queue);
    return { before, order: await lab.work(3) };
  },

  'promote and changeDelay': async (lab) => {
    const queue = lab.queue();
    const late = await queue.add('late', {}, { delay: 3_600_000 });
    const later = await queue.add('later', {}, { delay: 7_200_000, priority: 2 });
    const never = await queue.add('never', {}, { delay: 7_300_000 });
    await queue.add('now', {});
    await later.promote();
    await late.promote();
    const again = await attempt(() => late.promote());
    await never.changeDelay(30);
    const before = await overview(queue);
    // However long that took: the first pick is to find it due.
    const dueAt = Date.now() + 31;
    await eventually('the one with another delay is due', () => Date.now() > dueAt);
    return { again, before, order: await lab.work(4), late: await attempt(() => never.changeDelay(10)) };
  },

  'promoteJobs promotes all of them': async (lab) => {
    const queue = lab.queue();
    for (let i = 0; i < 30; i++) {
      await queue.add(`d${i}`, {}, { delay: 1_000_000 + i * 1000, priority: i % 3 });
    }
    await queue.promoteJobs({ count: 7 });
    return { before: await overview(queue), order: await lab.work(30) };
  },

  'more than a thousand due jobs': async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(
      Array.from({ length: 1200 }, (_, i) => ({ name: `d${i}`, data: {}, opts: { delay: 1 } })),
    );
    const dueAt = Date.now() + 2;
    await eventually('all are due', () => Date.now() > dueAt);
    // The fair backend promotes five with each of them.
    return { first: await lab.pickAll('q', 250), counts: await queue.getJobCounts() };
  },

  'deduplication: simple, with ttl, extended, replaced': async (lab) => {
    const queue = lab.queue();
    const ids: unknown[] = [];
    for (const name of ['a', 'b']) ids.push((await queue.add(name, {}, { deduplication: { id: 's' } })).id);
    for (const name of ['c', 'd']) {
      ids.push((await queue.add(name, {}, { deduplication: { id: 't', ttl: 60_000, extend: true } })).id);
    }
    for (const name of ['e', 'f', 'g']) {
      const deduplication = { id: 'r', ttl: 60_000, replace: true, extend: true };
      ids.push((await queue.add(name, {}, { delay: 50, deduplication })).id);
    }
    const holder = await queue.getDeduplicationJobId('s');
    const before = await overview(queue);
    const order = await lab.work(3);
    ids.push((await queue.add('h', {}, { deduplication: { id: 's' } })).id);
    const removed = await queue.removeDeduplicationKey('s');
    ids.push((await queue.add('i', {}, { priority: 2, deduplication: { id: 's' } })).id);
    return { ids, holder, before, order, removed, after: await overview(queue) };
  },

  'deduplication: the last one is kept while one runs': async (lab) => {
    const queue = lab.queue();
    const deduplication = { id: 'k', keepLastIfActive: true };
    await queue.add('first', { n: 0 }, { deduplication });
    const seen: unknown[] = [];
    const order = await lab.work(2, async (job) => {
      seen.push(job.data);
      if (job.name !== 'first') return;
      for (const n of [1, 2, 3]) await queue.add(`next${n}`, { n }, { deduplication, priority: n });
    });
    return { order, seen, after: await overview(queue) };
  },

  'deduplication ids that end like the names of lists': async (lab) => {
    const queue = lab.queue();
    const ids = [];
    for (const id of ['wait', 'x:prioritized', 'wait']) {
      ids.push(await attempt(async () => (await queue.add(id, {}, { deduplication: { id } })).id));
    }
    return { ids, order: await lab.pickAll() };
  },

  'schedulers: every, immediately, template, limit, remove': async (lab) => {
    const queue = lab.queue();
    const template = { name: 'tick', data: { t: 1 }, opts: { priority: 2 } };
    const first = await queue.upsertJobScheduler('s1', { every: 3_600_000, immediately: true }, template);
    const second = await queue.upsertJobScheduler('s2', { every: 50, limit: 3 }, { name: 'tock' });
    const before = { first: first?.name, second: second?.name, count: await queue.getJobSchedulersCount() };
    const order = await lab.work(4);
    const schedulers = (await queue.getJobSchedulers()).map(({ name, every, limit, iterationCount }) => {
      return { name, every, limit, iterationCount };
    });
    const removed = [await queue.removeJobScheduler('s1'), await queue.removeJobScheduler('nobody')];
    return { before, order: order.sort(), schedulers, removed, counts: await queue.getJobCounts() };
  },

  'schedulers: an update replaces the waiting job': async (lab) => {
    const queue = lab.queue();
    const every = 3_600_000;
    await queue.upsertJobScheduler('s', { every }, { name: 'one' });
    const one = await overview(queue);
    await queue.upsertJobScheduler('s', { every }, { name: 'two' });
    await queue.upsertJobScheduler('s', { every }, { name: 'three', opts: { priority: 4 } });
    await queue.upsertJobScheduler('s', { every }, { name: 'four' });
    const order = await lab.work(1);
    await queue.removeJobScheduler('s');
    return { one: JSON.stringify(one).length > 0, order, counts: await queue.getJobCounts() };
  },

  'schedulers named like lists': async (lab) => {
    const queue = lab.queue();
    const upserted = await attempt(async () => {
      return (await queue.upsertJobScheduler('wait', { every: 3_600_000 }, { name: 'one' }))?.name;
    });
    const order = await attempt(() => lab.pickAll());
    return { upserted, order, removed: await attempt(() => queue.removeJobScheduler('wait')) };
  },
};
