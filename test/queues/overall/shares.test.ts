import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Shares } from '../../../queues/overall/shares.ts';
import type { Demand } from '../../../queues/overall/shares.ts';

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
const hungry = (weight: number, has = 0): Demand => ({ weight, wants: Infinity, has });
const idle = (has = 0): Demand => ({ weight: 1, wants: 0, has });

/** What each got on the average over many turns. */
function averages(units: number, demands: readonly Demand[], turns = 1000): number[] {
  let now = 0;
  const shares = new Shares(() => now);
  const got = demands.map(() => 0);
  for (let turn = 0; turn < turns; turn += 1, now += 1000) {
    for (const [i, units_] of shares.split('x', units, demands).entries()) got[i] = (got[i] ?? 0) + units_;
  }
  return got.map((each) => each / turns);
}

describe('units', () => {
  test('go by weight where they divide', () => {
    expect(new Shares().split('x', 8, [hungry(3), hungry(1), idle()])).toEqual([6, 2, 0]);
  });

  test('that do not divide go round, so that in the long run everybody has its share', () => {
    expect(averages(1, [hungry(1), hungry(1), hungry(1), hungry(1)])).toEqual([0.25, 0.25, 0.25, 0.25]);
    const [one = 0, two = 0, three = 0] = averages(4, [hungry(3), hungry(1), hungry(0.5)]);
    expect(one).toBeCloseTo(4 * (3 / 4.5), 2);
    expect(two).toBeCloseTo(4 * (1 / 4.5), 2);
    expect(three).toBeCloseTo(4 * (0.5 / 4.5), 2);
  });

  test('stay with who has them for a turn, also when weights change a little', () => {
    let now = 0;
    const shares = new Shares(() => now);
    const first = shares.split('x', 1, [hungry(1), hungry(1.1)]);
    now += 999;
    expect(shares.split('x', 1, [hungry(1.1), hungry(1)])).toEqual(first);
    now += 1;
    expect(shares.split('x', 1, [hungry(1), hungry(1)])).toEqual(first.toReversed());
  });

  test('beyond what one wants go to the others', () => {
    expect(new Shares().split('x', 10, [{ weight: 100, wants: 1, has: 0 }, hungry(1), hungry(2)])).toEqual([
      1, 3, 6,
    ]);
  });

  test('that nobody wants stay where they are, and those that are nowhere are spread', () => {
    expect(new Shares().split('x', 10, [idle(7), idle(1), idle()])).toEqual([7, 2, 1]);
    expect(new Shares().split('x', 2, [idle(), idle(), idle(), idle()])).toEqual([1, 1, 0, 0]);
  });

  test('of one limit know nothing of another', () => {
    const shares = new Shares(() => 0);
    const first = shares.split('x', 1, [hungry(1), hungry(1)]);
    expect(shares.split('y', 1, [hungry(1), hungry(1)])).toEqual(first);
  });
});

test('all units are given out, in whole numbers, to nobody more than it wants while another lacks', () => {
  const demand = fc.record({
    weight: fc.double({ min: 0.01, max: 1000, noNaN: true }),
    wants: fc.oneof(fc.nat(20), fc.constant(Infinity)),
    has: fc.nat(10),
  });
  fc.assert(
    fc.property(fc.nat(50), fc.array(demand, { minLength: 1, maxLength: 8 }), (units, demands) => {
      const split = new Shares().split('x', units, demands);
      expect(sum(split)).toBe(units);
      expect(split.every((each) => Number.isInteger(each) && each >= 0)).toBe(true);
      const isLacking = split.some((each, i) => each < (demands[i]?.wants ?? 0));
      if (isLacking)
        for (const [i, each] of split.entries()) expect(each).toBeLessThanOrEqual(demands[i]?.wants ?? 0);
    }),
    { numRuns: 2000 },
  );
});
