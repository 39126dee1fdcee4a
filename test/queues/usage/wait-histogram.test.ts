import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { bucketOf, percentiles } from '../../../queues/usage/wait-histogram.ts';
import type { Histogram } from '../../../queues/usage/wait-histogram.ts';

const SHARES = [0.5, 0.95, 0.99];

function histogramOf(times: readonly number[]): Histogram {
  const histogram: Histogram = new Map();
  for (const ms of times) histogram.set(bucketOf(ms), (histogram.get(bucketOf(ms)) ?? 0) + 1);
  return histogram;
}

/** Nearest rank: the smallest time such that so many are no longer. */
function exact(times: readonly number[], share: number): number {
  const sorted = [...times].sort((one, other) => one - other);
  return sorted[Math.max(Math.ceil(share * sorted.length), 1) - 1] ?? NaN;
}

const fiveYearsMs = 5 * 365 * 86_400_000;
/** As many short ones as long ones. */
const time = fc.oneof(fc.nat(20), fc.nat(2000), fc.nat(600_000), fc.nat(fiveYearsMs));

test('percentiles are within a tenth of the exact ones, and whole milliseconds', () => {
  fc.assert(
    fc.property(fc.array(time, { minLength: 1, maxLength: 300 }), (times) => {
      for (const [place, found] of percentiles(histogramOf(times), SHARES).entries()) {
        const expected = exact(times, SHARES[place] ?? 0);
        expect(Math.abs((found ?? NaN) - expected)).toBeLessThanOrEqual(0.1 * expected);
        expect(Number.isInteger(found)).toBe(true);
      }
    }),
  );
});

test('every time up to ten seconds, alone, is within a tenth, and longer ones are in no earlier bucket', () => {
  for (let ms = 0; ms <= 10_000; ms += 1) {
    const [found = null] = percentiles(histogramOf([ms]), [0.5]);
    expect(Math.abs((found ?? NaN) - ms)).toBeLessThanOrEqual(0.1 * ms);
    expect(bucketOf(ms + 1)).toBeGreaterThanOrEqual(bucketOf(ms));
  }
});

test('times that are none of a clock that runs are counted all the same', () => {
  for (const ms of [-1, 0.4, NaN, -Infinity]) expect(bucketOf(ms)).toBe(0);
  expect(bucketOf(Infinity)).toBe(bucketOf(1e15));
});

test('nothing has no percentiles', () => {
  expect(percentiles(new Map(), SHARES)).toEqual([null, null, null]);
});
