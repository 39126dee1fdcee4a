import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Counts } from '../../../queues/usage/tally.ts';
import { windowsOf } from '../../../queues/usage/windows.ts';
import type { Minute } from '../../../queues/usage/windows.ts';

const NOW = 29_000_000;

const minute = (ago: number, own: Counts, units = 0, weight = 0): Minute => ({
  minute: NOW - ago,
  units,
  weight,
  own,
});

test('a window holds its whole minutes and the one that runs, and nothing older or of a clock that is ahead', () => {
  const minutes = [-1, 0, 1, 2, 5, 6, 60, 61].map((ago) => minute(ago, { started: 1 }));
  const windows = windowsOf(minutes, NOW, null);
  expect(windows.map(({ windowMs, started }) => [windowMs, started])).toEqual([
    [60_000, 2],
    [300_000, 4],
    [3_600_000, 6],
  ]);
  expect(Date.parse(windows[0]?.since ?? '')).toBe((NOW - 1) * 60_000);
  expect(Date.parse(windows[2]?.since ?? '')).toBe((NOW - 60) * 60_000);
});

test('where nothing happened there are no shares and no waits', () => {
  for (const window of windowsOf([], NOW, 1)) {
    expect(window).toMatchObject({
      started: 0,
      finished: { completed: 0, failed: 0 },
      share: { received: null, entitled: null },
      waitMs: { p50: null, p95: null, p99: null },
    });
  }
});

test('waits of several minutes are one distribution', () => {
  const minutes = [minute(0, { w1: 50 }), minute(1, { w1: 40, w0: 5 }), minute(2, { w1: 1000 })];
  const [last] = windowsOf(minutes, NOW, null);
  expect(last?.waitMs).toEqual({ p50: 1, p95: 1, p99: 1 });
});

describe('entitled', () => {
  const entitledOf = (minutes: Minute[], waitingWeight: number | null): number | null =>
    windowsOf(minutes, NOW, waitingWeight)[0]?.share.entitled ?? null;

  test('a minute counts as much as was started in it', () => {
    const minutes = [
      minute(0, { started: 1, units: 30, weight: 1 }, 90, 3),
      minute(1, { started: 1, units: 10, weight: 1 }, 10, 1),
    ];
    const [last] = windowsOf(minutes, NOW, null);
    expect(last?.share).toEqual({ received: 0.4, entitled: (90 / 3 + 10) / 100 });
  });

  test('who waits and could run is entitled to a part of the minute that runs, though it got nothing', () => {
    expect(entitledOf([minute(0, {}, 10, 3)], 1)).toBe(0.25);
    expect(entitledOf([minute(0, {}, 10, 3)], null)).toBe(0);
    // Not of the minute before: it may have come just now.
    expect(entitledOf([minute(1, {}, 10, 3)], 1)).toBe(0);
    // Nor twice.
    expect(entitledOf([minute(0, { units: 5, weight: 1 }, 10, 4)], 1)).toBe(0.25);
  });
});

test('over all tenants, shares add up to 1', () => {
  const tenant = fc.record({
    units: fc.integer({ min: 1, max: 1000 }),
    weight: fc.double({ min: 0.01, max: 1000, noNaN: true }),
  });
  const minutes = fc.array(fc.array(fc.option(tenant), { minLength: 4, maxLength: 4 }), {
    minLength: 1,
    maxLength: 6,
  });
  fc.assert(
    fc.property(minutes, (used) => {
      fc.pre(used[0]?.some((one) => one !== null) ?? false);
      const sum = (
        pick: (one: { units: number; weight: number }) => number,
        of: (typeof used)[number],
      ): number => of.reduce((all, one) => all + (one === null ? 0 : pick(one)), 0);
      const shares = [0, 1, 2, 3].map((place) => {
        const mine = used.map((all, ago) => {
          const own = all[place] ?? {};
          return minute(
            ago,
            own,
            sum((one) => one.units, all),
            sum((one) => one.weight, all),
          );
        });
        return windowsOf(mine, NOW, null);
      });
      for (const window of [0, 1, 2]) {
        for (const which of ['received', 'entitled'] as const) {
          const all = shares.reduce((total, windows) => total + (windows[window]?.share[which] ?? NaN), 0);
          expect(all).toBeCloseTo(1, 9);
        }
      }
    }),
  );
});
