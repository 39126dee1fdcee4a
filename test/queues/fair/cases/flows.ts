import { WaitingChildrenError } from 'bullmq';
import type { FlowJob, JobsOptions } from 'bullmq';
import { eventually } from '../../../support/eventually.ts';
import { attempt, overview } from './case.ts';
import type { Case } from './case.ts';

const child = (name: string, opts: JobsOptions = {}, queueName = 'kids'): FlowJob => ({
  name,
  queueName,
  data: { name },
  opts,
});

/** Parents, children and grandchildren, over several queues. */
export const flows: Record<string, Case> = {
  'children first, then the parent in another queue': async (lab) => {
    const [parents, kids] = [lab.queue('parents'), lab.queue('kids')];
    const tree = await lab.addFlow({
      name: 'parent',
      queueName: 'parents',
      children: [child('k1'), child('k2', { priority: 2 }), child('k3', { delay: 30 })],
    });
    await parents.add('other', {});
    const before = [await overview(parents), await overview(kids), await tree.job.getState()];
    // However long that took: the first pick is to find the delayed one due.
    const dueAt = Date.now() + 31;
    await eventually('the delayed child is due', () => Date.now() > dueAt);
    const order = await lab.work(3, async (job) => job.name, { queue: 'kids' });
    const after = [await tree.job.getState(), await overview(parents)];
    const values = Object.values(await tree.job.getChildrenValues<string>()).sort();
    return { before, order, after, values, parents: await lab.work(2, undefined, { queue: 'parents' }) };
  },

  'a prioritized and a delayed parent': async (lab) => {
    const parents = lab.queue('parents');
    lab.queue('kids');
    await lab.addFlow({ name: 'p2', queueName: 'parents', opts: { priority: 2 }, children: [child('a')] });
    await lab.addFlow({ name: 'p1', queueName: 'parents', opts: { priority: 1 }, children: [child('b')] });
    await lab.addFlow({
      name: 'late',
      queueName: 'parents',
      opts: { delay: 3_600_000 },
      children: [child('c')],
    });
    await lab.work(3, undefined, { queue: 'kids' });
    return { after: await overview(parents), order: await lab.work(2, undefined, { queue: 'parents' }) };
  },

  'grandchildren in one queue': async (lab) => {
    const queue = lab.queue();
    await lab.addFlow({
      name: 'root',
      queueName: 'q',
      children: [
        { name: 'mid', queueName: 'q', children: [child('leaf1', {}, 'q'), child('leaf2', {}, 'q')] },
        child('leaf3', {}, 'q'),
      ],
    });
    await queue.add('plain', {});
    return { before: await overview(queue), order: await lab.work(6) };
  },

  'a bulk of flows': async (lab) => {
    const queue = lab.queue();
    await lab.addFlows([
      { name: 'r1', queueName: 'q', children: [child('a', {}, 'q')] },
      { name: 'r2', queueName: 'q', children: [child('b', {}, 'q')] },
      { name: 'single', queueName: 'q' },
    ]);
    return { before: await overview(queue), order: await lab.work(5) };
  },

  ...Object.fromEntries(
    (
      [
        'failParentOnFailure',
        'continueParentOnFailure',
        'ignoreDependencyOnFailure',
        'removeDependencyOnFailure',
      ] as const
    ).map((option): [string, Case] => [
      option,
      async (lab) => {
        const [parents, kids] = [lab.queue('parents'), lab.queue('kids')];
        const tree = await lab.addFlow({
          name: 'grand',
          queueName: 'parents',
          children: [
            {
              name: 'parent',
              queueName: 'parents',
              opts: { [option]: true },
              children: [child('bad', { [option]: true }), child('good')],
            },
          ],
        });
        const order = await lab.work(
          2,
          async (job) => {
            if (job.name === 'bad') throw new Error('no');
          },
          { queue: 'kids' },
        );
        const between = [await overview(parents), await overview(kids), await tree.job.getState()];
        const rest = await lab.work(2, undefined, { queue: 'parents' });
        return {
          order,
          between,
          rest: rest.map((text) => text.replace(/child .*/, '')),
          after: await overview(parents),
        };
      },
    ]),
  ),

  'moveToWaitingChildren from a processor': async (lab) => {
    const queue = lab.queue();
    await queue.add('parent', { step: 0 });
    const steps: string[] = [];
    const order = await lab.work(3, async (job, token) => {
      steps.push(job.name);
      if (job.name !== 'parent' || (job.data as { step: number }).step === 1) return job.name;
      for (const name of ['c1', 'c2']) {
        await queue.add(name, {}, { parent: { id: job.id ?? '', queue: job.queueQualifiedName } });
      }
      await job.updateData({ step: 1 });
      if (await job.moveToWaitingChildren(token ?? '')) throw new WaitingChildrenError();
      return job.name;
    });
    return { steps, order, after: await overview(queue) };
  },

  'removal of a parent, of a child, of a dependency': async (lab) => {
    const [parents, kids] = [lab.queue('parents'), lab.queue('kids')];
    const one = await lab.addFlow({ name: 'one', queueName: 'parents', children: [child('a'), child('b')] });
    const two = await lab.addFlow({
      name: 'two',
      queueName: 'parents',
      children: [child('c', { priority: 1 })],
    });
    const three = await lab.addFlow({ name: 'three', queueName: 'parents', children: [child('d')] });
    await one.job.remove();
    await two.children?.[0]?.job.remove();
    const cut = await attempt(async () => three.children?.[0]?.job.removeChildDependency());
    return { cut, parents: await overview(parents), kids: await overview(kids) };
  },

  'unprocessed children are removed': async (lab) => {
    const [parents, kids] = [lab.queue('parents'), lab.queue('kids')];
    const tree = await lab.addFlow({
      name: 'one',
      queueName: 'parents',
      children: [child('a'), child('b', { priority: 1 }), child('c', { delay: 1_000_000 })],
    });
    await lab.work(1, undefined, { queue: 'kids' });
    await tree.job.removeUnprocessedChildren();
    return { parents: await overview(parents), kids: await overview(kids), state: await tree.job.getState() };
  },

  'a child added twice, its parent gone': async (lab) => {
    const [parents, kids] = [lab.queue('parents'), lab.queue('kids')];
    await kids.add('k', {}, { jobId: 'k' });
    await lab.work(1, undefined, { queue: 'kids' });
    const tree = await lab.addFlow({
      name: 'p',
      queueName: 'parents',
      children: [child('k', { jobId: 'k' })],
    });
    const state = await tree.job.getState();
    const orphan = await attempt(() =>
      kids.add('o', {}, { parent: { id: 'nobody', queue: `${lab.prefix}:parents` } }),
    );
    return { state, orphan, parents: await overview(parents), kids: await overview(kids) };
  },
};
