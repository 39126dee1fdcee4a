import { expect, test } from '@jest/globals';
import { allDoneMs, duration, waitFigures } from '../../src/demo/figures.ts';
import type { JobTimes } from '../../src/demo/figures.ts';

function job(createdAt: number, startedAt: number | null, finishedAt: number | null = null): JobTimes {
  return { createdAt, startedAt, finishedAt };
}

test('waits run from creation to start, and jobs that have not started do not count', () => {
  const jobs = [job(0, 40), job(0, 10), job(100, 130), job(0, 20), job(0, null)];
  expect(waitFigures(jobs)).toEqual({ count: 4, p50Ms: 20, maxMs: 40 });
  expect(waitFigures([job(0, null)])).toBeUndefined();
});

test('a group is done when its last job is, counted from its first creation', () => {
  expect(allDoneMs([job(100, 110, 300), job(90, 100, 200)])).toBe(210);
  expect(allDoneMs([job(100, 110, 300), job(90, 100)])).toBeUndefined();
});

test.each([
  [undefined, '-'],
  [0, '0 ms'],
  [999, '999 ms'],
  [1234, '1.23 s'],
  [9999, '10.0 s'],
  [12_345, '12.3 s'],
])('%p ms reads as %p', (ms, text) => {
  expect(duration(ms)).toBe(text);
});
