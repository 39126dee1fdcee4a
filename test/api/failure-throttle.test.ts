import { expect, test } from '@jest/globals';
import { FailureThrottle } from '../../src/api/auth/failure-throttle.ts';

test('an address waits after too many wrong tokens, others do not, and the window ends', () => {
  let time = 5;
  const throttle = new FailureThrottle({ perAddress: 2, overall: 100, windowMs: 1000, now: () => time });
  throttle.failed('a');
  expect(throttle.waitMs('a')).toBe(0);
  throttle.failed('a');
  time += 400;
  expect(throttle.waitMs('a')).toBe(600);
  expect(throttle.waitMs('b')).toBe(0);
  time += 600;
  expect(throttle.waitMs('a')).toBe(0);
});

test('many addresses together do not get round it', () => {
  const throttle = new FailureThrottle({ perAddress: 2, overall: 10, windowMs: 1000, now: () => 0 });
  for (let n = 0; n < 10; n++) throttle.failed(`address ${n}`);
  expect(throttle.waitMs('one more')).toBeGreaterThan(0);
});

test('no more addresses are remembered than it is told to', () => {
  const throttle = new FailureThrottle({ perAddress: 1, remembered: 3, now: () => 0 });
  for (let n = 0; n < 5; n++) throttle.failed(`address ${n}`);
  expect([0, 1, 2, 3, 4].map((n) => throttle.waitMs(`address ${n}`) > 0)).toEqual([
    false,
    false,
    true,
    true,
    true,
  ]);
});
