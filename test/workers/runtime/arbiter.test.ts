import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Arbiter } from '../../../workers/runtime/arbiter.ts';

function arbiterOf(weights: readonly number[]): Arbiter {
  return new Arbiter(weights.map((weight) => () => weight));
}

function readyAll(arbiter: Arbiter, sources: number): void {
  for (let index = 0; index < sources; index += 1) arbiter.setReady(index, true);
}

const weights = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 8 });

describe('shares', () => {
  test('grants go in proportion to the weights of sources that always have work', () => {
    fc.assert(
      fc.property(weights, fc.integer({ min: 1, max: 500 }), (weightOf, grants) => {
        const arbiter = arbiterOf(weightOf);
        readyAll(arbiter, weightOf.length);
        const got = weightOf.map(() => 0);
        for (let round = 0; round < grants; round += 1) {
          const index = arbiter.pick();
          if (index === null) throw new Error('nothing picked');
          arbiter.granted(index);
          got[index] = (got[index] ?? 0) + 1;
        }
        const normal = got.map((count, index) => count / (weightOf[index] ?? 1));
        const slack = Math.max(...weightOf.map((weight) => 1 / weight));
        expect(Math.max(...normal) - Math.min(...normal)).toBeLessThanOrEqual(slack + 1e-9);
      }),
    );
  });

  test('slots kept at the end of jobs bend the shares by no more than the bound', () => {
    fc.assert(
      fc.property(
        weights,
        fc.integer({ min: 0, max: 6 }),
        fc.infiniteStream(fc.nat()),
        (weightOf, bound, choices) => {
          const arbiter = arbiterOf(weightOf);
          readyAll(arbiter, weightOf.length);
          const got = weightOf.map(() => 0);
          const give = (index: number): void => {
            arbiter.granted(index);
            got[index] = (got[index] ?? 0) + 1;
          };
          for (let round = 0; round < 300; round += 1) {
            const finishing = (choices.next().value as number) % weightOf.length;
            if (arbiter.mayKeepSlot(finishing, bound)) give(finishing);
            else give(arbiter.pick() ?? finishing);
          }
          const normal = got.map((count, index) => count / (weightOf[index] ?? 1));
          const slack = (bound + 1) * Math.max(...weightOf.map((weight) => 1 / weight));
          expect(Math.max(...normal) - Math.min(...normal)).toBeLessThanOrEqual(slack + 1e-9);
        },
      ),
    );
  });

  test('a burst of claims is spread like a burst of jobs', () => {
    const arbiter = arbiterOf([3, 1]);
    readyAll(arbiter, 2);
    const picks = Array.from({ length: 8 }, () => {
      const index = arbiter.pick() ?? -1;
      arbiter.claiming(index);
      return index;
    });
    expect(picks.filter((index) => index === 0)).toHaveLength(6);
  });
});

describe('any order of events', () => {
  const events = fc.array(
    fc.oneof(
      fc.record({ do: fc.constant('grant' as const) }),
      fc.record({ do: fc.constant('ready' as const), index: fc.nat(4), ready: fc.boolean() }),
    ),
    { maxLength: 200 },
  );

  test('only ready sources are picked, one is picked whenever any is ready, and idle time is no credit', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 5, maxLength: 5 }),
        events,
        (weightOf, all) => {
          const arbiter = arbiterOf(weightOf);
          const ready = weightOf.map(() => false);
          // Normalised service of each source since all ready sources were last level with it.
          const served = weightOf.map(() => 0);
          let virtual = 0;
          for (const event of all) {
            if (event.do === 'ready') {
              if (event.ready && !ready[event.index])
                served[event.index] = Math.max(served[event.index] ?? 0, virtual);
              ready[event.index] = event.ready;
              arbiter.setReady(event.index, event.ready);
              continue;
            }
            const index = arbiter.pick();
            expect(index !== null).toBe(ready.some(Boolean));
            if (index === null) continue;
            expect(ready[index]).toBe(true);
            const lowest = Math.min(...served.filter((_, other) => ready[other]));
            expect(served[index]).toBeCloseTo(lowest, 9);
            virtual = Math.max(virtual, lowest);
            arbiter.granted(index);
            served[index] = (served[index] ?? 0) + 1 / (weightOf[index] ?? 1);
          }
        },
      ),
    );
  });
});

test('a weight that is no positive number counts as 1', () => {
  const arbiter = arbiterOf([0, Number.NaN, -3, Infinity]);
  readyAll(arbiter, 4);
  const picks = Array.from({ length: 4 }, () => {
    const index = arbiter.pick() ?? -1;
    arbiter.granted(index);
    return index;
  });
  expect(picks.sort()).toEqual([0, 1, 2, 3]);
});

test('a source alone with work keeps its slots', () => {
  const arbiter = arbiterOf([1, 1]);
  arbiter.setReady(0, true);
  for (let round = 0; round < 50; round += 1) arbiter.granted(0);
  expect(arbiter.mayKeepSlot(0, 0)).toBe(true);
  arbiter.setReady(1, true);
  arbiter.granted(0);
  arbiter.granted(0);
  expect(arbiter.mayKeepSlot(0, 0)).toBe(false);
});

test('a source that does not exist is a defect', () => {
  expect(() => arbiterOf([1]).granted(1)).toThrow(RangeError);
});
