import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { SteadyRate } from '../../../queues/jobs/steady-rate.ts';

const never = new AbortController().signal;

async function msFor(rate: SteadyRate, units: number): Promise<number> {
  const since = performance.now();
  for (let n = 0; n < units; n += 1) {
    await rate.free(never);
    rate.spend(1);
  }
  return performance.now() - since;
}

test.each([
  [0.5, 1],
  [19, 1],
  [20, 2],
  [99, 9],
  [100, 10],
  [10_000, 10],
  [Infinity, 10],
])('at %d a second, so many are taken at once: %d', (perSecond, expected) => {
  expect(new SteadyRate(perSecond).portion(10)).toBe(expected);
});

test('the first goes at once, each further one when those before it have had their time', async () => {
  // Timers may fire up to a millisecond early.
  expect(await msFor(new SteadyRate(20), 6)).toBeGreaterThan(5 * 49);
});

test('what was missed in a stall is not made up for', async () => {
  const rate = new SteadyRate(20);
  rate.spend(1);
  await delay(400);
  expect(await msFor(rate, 5)).toBeGreaterThan(4 * 49);
});

test('several that were spent at once take their time together; nothing takes none', async () => {
  const rate = new SteadyRate(20);
  rate.spend(0);
  rate.spend(4);
  expect(await msFor(rate, 1)).toBeGreaterThan(4 * 49);
});

test('a wait ends with its signal', async () => {
  const rate = new SteadyRate(0.001);
  rate.spend(1);
  const abort = new AbortController();
  const free = rate.free(abort.signal);
  abort.abort();
  await expect(free).rejects.toThrow('aborted');
  await expect(rate.free(abort.signal)).rejects.toThrow('aborted');
});
