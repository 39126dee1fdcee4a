import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { backoffDelay, backoffPolicy } from '../../../workers/runtime/backoff.ts';

describe('the delay', () => {
  const base = { delayMs: 1000, maxDelayMs: 60_000, jitter: 0 };

  test('fixed stays, exponential doubles up to its bound', () => {
    const attempts = [1, 2, 3, 4, 7, 1000];
    expect(attempts.map((attempt) => backoffDelay({ ...base, type: 'fixed' }, attempt))).toEqual(
      Array(6).fill(1000),
    );
    expect(attempts.map((attempt) => backoffDelay({ ...base, type: 'exponential' }, attempt))).toEqual([
      1000, 2000, 4000, 8000, 60_000, 60_000,
    ]);
  });

  test('jitter takes away at most its share and never adds', () => {
    fc.assert(
      fc.property(
        fc.record({
          type: fc.constantFrom('fixed' as const, 'exponential' as const),
          delayMs: fc.nat(100_000),
          maxDelayMs: fc.nat(200_000),
          jitter: fc.double({ min: 0, max: 1, noNaN: true }),
        }),
        fc.integer({ min: 1, max: 100 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (policy, attempt, random) => {
          const whole = backoffDelay({ ...policy, jitter: 0 }, attempt);
          const delay = backoffDelay(policy, attempt, () => random);
          expect(delay).toBeGreaterThanOrEqual(Math.floor(whole * (1 - policy.jitter)));
          expect(delay).toBeLessThanOrEqual(Math.min(whole, policy.maxDelayMs));
        },
      ),
    );
  });
});

test('the policy is read from what Waggle and BullMQ users store', () => {
  const options = { type: 'exponential', delayMs: 10, maxDelayMs: 40, jitter: 0.5 };
  expect(backoffPolicy({ type: 'waggle', delay: 10, options })).toEqual(options);
  expect(backoffPolicy(500)).toMatchObject({ type: 'fixed', delayMs: 500, jitter: 0 });
  expect(backoffPolicy({ type: 'exponential', delay: 500, jitter: 7 })).toMatchObject({
    delayMs: 500,
    jitter: 1,
  });
  expect(backoffPolicy(undefined)).toBeNull();
});
