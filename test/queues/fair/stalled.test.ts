import { expect, test } from '@jest/globals';
import { eventually } from '../../support/eventually.ts';
import { inLab } from './bullmq-lab.ts';

const JOBS = 50;

test('one check brings back all jobs that stalled, and the next one comes an interval later', () =>
  inLab('grouped', async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(Array.from({ length: JOBS }, (_, i) => ({ name: `j${i}`, data: {} })));
    await lab.backend(queue).setGroupLimits('*', { maxRunning: JOBS });
    const dead = lab.worker('q', null, { lockDuration: 30, stalledInterval: 60_000, autorun: false });
    const locks: string[] = [];
    const toKey = (type: string): string => lab.backend(queue).toKey(type);
    for (let i = 0; i < JOBS; i++) {
      const job = await dead.getNextJob('t', { block: false });
      locks.push(toKey(`${job?.id}:lock`));
    }
    await eventually('no lock is left', async () => (await lab.redis.exists(locks)) === 0);
    const check = (): Promise<string[]> => dead.getBackend().moveStalledJobsToWait();

    expect(await check()).toEqual([]);
    expect(await check()).toEqual([]);
    expect(await queue.getActiveCount()).toBe(JOBS);

    await lab.redis.del(toKey('stalled-check'));
    expect(new Set(await check()).size).toBe(JOBS);
    expect(await queue.getJobCounts('active', 'waiting')).toEqual({ active: 0, waiting: JOBS });
    expect(await check()).toEqual([]);
    expect(await lab.backend(queue).repairSlots()).toEqual({ released: 0, adopted: 0, keys: 0, parked: 0 });
  }));

test('a job that ends is no candidate of the next check, and who ends later does not look', () =>
  inLab('grouped', async (lab) => {
    const queue = lab.queue();
    await queue.addBulk(['a', 'b', 'c'].map((name) => ({ name, data: {} })));
    const worker = lab.hand('q', { stalledInterval: 60_000 });
    const toKey = (type: string): string => lab.backend(queue).toKey(type);
    const isMarked = (): Promise<number> => lab.redis.hexists(toKey('meta'), 'fair:stalled');
    const [a, b] = [
      await worker.getNextJob('t', { block: false }),
      await worker.getNextJob('t', { block: false }),
    ];
    await worker.getBackend().moveStalledJobsToWait();
    expect([await lab.redis.scard(toKey('stalled')), await isMarked()]).toEqual([2, 1]);
    await a?.moveToCompleted(1, 't', false);
    expect(await lab.redis.smembers(toKey('stalled'))).toEqual([b?.id]);
    await b?.moveToCompleted(1, 't', false);
    expect(await lab.redis.exists(toKey('stalled'))).toBe(0);
    const c = await worker.getNextJob('t', { block: false });
    await c?.moveToCompleted(1, 't', false);
    expect(await isMarked()).toBe(0);
  }));

test('what active jobs should hold and do not is found by the next check, however many they are', () =>
  inLab('grouped', async (lab) => {
    const [queue, worker] = [lab.queue(), lab.hand('q')];
    const backend = lab.backend(queue);
    const count = 120;
    await queue.addBulk(Array.from({ length: count }, () => ({ name: 'job', data: {} })));
    for (let i = 0; i < count; i++) await worker.getNextJob('t', { block: false });
    const prefix = queue.opts.prefix ?? '';
    expect(await backend.repairSlots()).toMatchObject({ adopted: 0 });
    // As no script of ours would: no active job is looked at.
    await lab.redis.hset(`${prefix}::fair:limits`, '*', JSON.stringify({ m: count }));
    expect(await backend.repairSlots()).toMatchObject({ released: 0, adopted: count });
    expect(await lab.redis.hlen(`${prefix}::fair:slots`)).toBe(count);
    expect(await backend.repairSlots()).toMatchObject({ released: 0, adopted: 0 });

    await backend.changeGates([{ kind: 't', name: 'job', m: count }]);
    const gate = `${prefix}::fair:gate:job`;
    expect(await lab.redis.scard(gate)).toBe(count);
    await lab.redis.del(gate);
    expect(await backend.repairSlots()).toMatchObject({ released: 0, adopted: count });
    expect(await lab.redis.scard(gate)).toBe(count);
  }));
