import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Arbiter } from '../../../workers/runtime/arbiter.ts';

function arbiterOf(weights: readonly number[]): Arbiter {
  const arbiter = new Arbiter(weights.length);
  for (const [index, weight] of weights.entries()) arbiter.setWeight(index, weight);
  return arbiter;
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

  test('units go in proportion to the weights, whatever the jobs of a source cost', () => {
    const costs = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(fc.array(costs, { minLength: 2, maxLength: 6 }), weights, (costsOf, weightOf) => {
        const sources = Math.min(costsOf.length, weightOf.length);
        const arbiter = arbiterOf(weightOf.slice(0, sources));
        readyAll(arbiter, sources);
        const got = Array.from({ length: sources }, () => 0);
        for (let round = 0; round < 300; round += 1) {
          const index = arbiter.pick() ?? -1;
          const ofSource = costsOf[index] ?? [];
          const units = ofSource[round % ofSource.length] ?? 1;
          arbiter.granted(index, units);
          got[index] = (got[index] ?? 0) + units;
        }
        const normal = got.map((units, index) => units / (weightOf[index] ?? 1));
        const slack = Math.max(
          ...normal.map((_, index) => Math.max(...(costsOf[index] ?? [])) / (weightOf[index] ?? 1)),
        );
        expect(Math.max(...normal) - Math.min(...normal)).toBeLessThanOrEqual(slack + 1e-9);
      }),
    );
  });

  test('units go in proportion to the weights also where most of them are known only when a run ends', () => {
    const runs = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 5 });
    const slots = fc.integer({ min: 1, max: 8 });
    fc.assert(
      fc.property(
        fc.array(runs, { minLength: 2, maxLength: 6 }),
        weights,
        slots,
        (runsOf, weightOf, most) => {
          const sources = Math.min(runsOf.length, weightOf.length);
          const arbiter = arbiterOf(weightOf.slice(0, sources));
          readyAll(arbiter, sources);
          const got = Array.from({ length: sources }, () => 0);
          const running: { index: number; units: number }[] = [];
          const end = (): void => {
            const { index = -1, units = 0 } = running.shift() ?? {};
            arbiter.charged(index, units, 'one', weightOf[index] ?? 1);
            got[index] = (got[index] ?? 0) + units;
          };
          for (let round = 0; round < 300; round += 1) {
            if (running.length === most) end();
            const index = arbiter.pick() ?? -1;
            const ofSource = runsOf[index] ?? [];
            arbiter.granted(index, 1, 'one');
            got[index] = (got[index] ?? 0) + 1;
            running.push({ index, units: ofSource[round % ofSource.length] ?? 0 });
          }
          while (running.length > 0) end();
          const normal = got.map((units, index) => units / (weightOf[index] ?? 1));
          // Of each of its slots a run may be owed still, and another one not be charged yet.
          const slack = Math.max(
            ...normal.map(
              (_, index) => (2 * most * (1 + Math.max(...(runsOf[index] ?? [])))) / (weightOf[index] ?? 1),
            ),
          );
          expect(Math.max(...normal) - Math.min(...normal)).toBeLessThanOrEqual(slack + 1e-9);
        },
      ),
    );
  });

  test('units follow the weights of now, however often those change', () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.integer({ min: 1, max: 40 })), (stream) => {
        const weightOf = [1, 1, 1];
        const arbiter = arbiterOf(weightOf);
        readyAll(arbiter, 3);
        const got = [0, 0, 0];
        const due = [0, 0, 0];
        for (let round = 0; round < 3000; round += 1) {
          if (round % 10 === 0) {
            weightOf[round % 3] = stream.next().value as number;
            arbiter.setWeight(round % 3, weightOf[round % 3] ?? 1);
          }
          const index = arbiter.pick() ?? -1;
          arbiter.granted(index);
          got[index] = (got[index] ?? 0) + 1;
          const sum = weightOf.reduce((total, weight) => total + weight, 0);
          for (const [source, weight] of weightOf.entries()) due[source] = (due[source] ?? 0) + weight / sum;
        }
        for (const [source, jobs] of got.entries()) {
          const share = jobs / (due[source] ?? 1);
          expect(share).toBeGreaterThan(0.95);
          expect(share).toBeLessThan(1.05);
        }
      }),
    );
  });

  test('what a source was charged by an old, tiny weight does not starve it under its new one', () => {
    const arbiter = arbiterOf([0.001, 1]);
    arbiter.setReady(0, true);
    for (let round = 0; round < 5; round += 1) arbiter.granted(0);
    arbiter.setReady(1, true);
    arbiter.setWeight(0, 1);
    const picks = Array.from({ length: 20 }, () => {
      const index = arbiter.pick() ?? -1;
      arbiter.granted(index);
      return index;
    });
    expect(picks.filter((index) => index === 0).length).toBeGreaterThanOrEqual(9);
  });

  test('slots kept in one burst are no more than the bound allows', () => {
    const arbiter = arbiterOf([1, 1]);
    arbiter.setReady(0, true);
    for (let round = 0; round < 10; round += 1) arbiter.granted(0);
    arbiter.setReady(1, true);
    // Ten jobs end in the same moment; none of the next ones has come yet.
    let kept = 0;
    for (let ended = 0; ended < 10; ended += 1) {
      if (!arbiter.mayKeepSlot(0, 2)) continue;
      arbiter.claiming(0);
      kept += 1;
    }
    expect(kept).toBe(2);
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
      fc.record({ do: fc.constant('charge' as const), index: fc.nat(4), units: fc.nat(1000) }),
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
          // Where what was charged has moved those that have not been served since.
          const finishes = weightOf.map(() => 0);
          for (const event of all) {
            if (event.do === 'ready') {
              if (event.ready && !ready[event.index])
                served[event.index] = Math.max(served[event.index] ?? 0, virtual);
              ready[event.index] = event.ready;
              arbiter.setReady(event.index, event.ready);
              if (!event.ready && !ready.some(Boolean)) {
                virtual = Math.max(virtual, ...served);
                finishes.fill(0);
              }
              continue;
            }
            if (event.do === 'charge') {
              const [weight, at] = [weightOf[event.index] ?? 1, event.index];
              if (ready.some(Boolean))
                finishes[at] = Math.max(served[at] ?? 0, finishes[at] ?? 0, virtual) + event.units / weight;
              arbiter.charged(at, event.units, 'one', weight);
              continue;
            }
            const index = arbiter.pick();
            expect(index !== null).toBe(ready.some(Boolean));
            if (index === null) continue;
            expect(ready[index]).toBe(true);
            const lowest = (): number => Math.min(...served.filter((_, other) => ready[other]));
            expect(served[index]).toBeCloseTo(lowest(), 9);
            served[index] = Math.max(served[index] ?? 0, finishes[index] ?? 0);
            finishes[index] = 0;
            virtual = Math.max(virtual, lowest());
            arbiter.granted(index, 1, 'one');
            served[index] = (served[index] ?? 0) + 1 / (weightOf[index] ?? 1);
          }
        },
      ),
    );
  });
});

describe('what is charged when a run ends', () => {
  /** Who gets the next so many slots; all jobs of a source are of one tenant. */
  function next(arbiter: Arbiter, count: number): number[] {
    return Array.from({ length: count }, () => {
      const index = arbiter.pick() ?? -1;
      arbiter.granted(index, 1, `of-${index}`);
      return index;
    });
  }
  const times = (count: number, index: number): number[] => Array.from({ length: count }, () => index);

  test('is paid with the next job, and no slot is kept meanwhile', () => {
    const arbiter = arbiterOf([2, 1]);
    readyAll(arbiter, 2);
    next(arbiter, 3);
    arbiter.charged(0, 20, 'of-0', 2);
    expect(next(arbiter, 1)).toEqual([0]);
    expect(arbiter.mayKeepSlot(0, 4)).toBe(false);
    expect(arbiter.mayKeepSlot(1, 0)).toBe(true);
    expect(next(arbiter, 10)).toEqual(times(10, 1));
    expect(next(arbiter, 30).filter((index) => index === 0)).toHaveLength(20);
  });

  test('costs no slot that nobody else wants', () => {
    const arbiter = arbiterOf([1, 1]);
    readyAll(arbiter, 2);
    arbiter.charged(0, 1e9, 'of-0', 1);
    expect(next(arbiter, 3)).toEqual([0, 1, 1]);
    // The other one has all the claims under way that it may have.
    expect(arbiter.pick((index) => index !== 1)).toBe(0);
    arbiter.setReady(1, false);
    expect(arbiter.mayKeepSlot(0, 0)).toBe(true);
    expect(next(arbiter, 3)).toEqual([0, 0, 0]);
  });

  test('is owed still by a source that was idle while others were not', () => {
    const arbiter = arbiterOf([1, 1]);
    readyAll(arbiter, 2);
    arbiter.setReady(0, false);
    next(arbiter, 2);
    arbiter.charged(0, 10, 'of-0', 1);
    arbiter.setReady(0, true);
    // Virtual time is that of the last start, which is 1; the debt ends at 11.
    expect(next(arbiter, 10)).toEqual([0, ...times(9, 1)]);
    expect(next(arbiter, 5).filter((index) => index === 0)).toHaveLength(2);
  });

  test('is outdated when others of the source have been served for so long', () => {
    const arbiter = arbiterOf([1, 1]);
    readyAll(arbiter, 2);
    arbiter.charged(0, 5, 'gone', 1);
    for (let round = 0; round < 20; round += 1) arbiter.granted(arbiter.pick() ?? -1, 1, 'others');
    arbiter.granted(0, 1, 'gone');
    expect(next(arbiter, 5).filter((index) => index === 0)).toHaveLength(2);
  });

  test('is not owed to who comes after it was paid', () => {
    const arbiter = arbiterOf([1, 1]);
    arbiter.setReady(0, true);
    arbiter.charged(0, 1000, 'of-0', 1);
    next(arbiter, 1);
    arbiter.setReady(1, true);
    expect(next(arbiter, 5).filter((index) => index === 0)).toHaveLength(2);
  });

  test('is forgotten when nobody wants anything, and not noted while nobody does', () => {
    const arbiter = arbiterOf([1, 1]);
    readyAll(arbiter, 2);
    arbiter.charged(0, 1000, 'of-0', 1);
    next(arbiter, 2);
    arbiter.charged(0, 1000, 'of-0', 1);
    arbiter.setReady(0, false);
    arbiter.setReady(1, false);
    arbiter.charged(0, 1000, 'of-0', 1);
    readyAll(arbiter, 2);
    expect(next(arbiter, 4).filter((index) => index === 0)).toHaveLength(2);
  });

  test('is remembered of ten thousand tenants; of more, those charged last', () => {
    const arbiter = arbiterOf([1, 1]);
    readyAll(arbiter, 2);
    for (let n = 0; n <= 10_000; n += 1) arbiter.charged(0, 50, `tenant-${n}`, 1);
    arbiter.granted(0, 1, 'tenant-0');
    arbiter.granted(1);
    expect(next(arbiter, 4).filter((index) => index === 0)).toHaveLength(2);
    arbiter.granted(0, 1, 'tenant-1');
    expect(next(arbiter, 20)).toEqual(times(20, 1));
  });
});

describe('neighbours of a tenant whose runs are charged', () => {
  /** Starts of so many jobs: source 0 has `long`, whose jobs take so many units more, and `near`; source 1 has `far`. */
  function serve(jobs: number, units: number, longJobs: number): Record<'long' | 'near' | 'far', number> {
    const arbiter = arbiterOf([2, 1]);
    readyAll(arbiter, 2);
    const started = { long: 0, near: 0, far: 0 };
    // The ring of the first shard: start tags.
    const tags = { long: 0, near: 0 };
    for (let n = 0; n < jobs; n += 1) {
      const index = arbiter.pick() ?? -1;
      const isLong = started.long < longJobs && tags.long <= tags.near;
      const tenant = index === 1 ? 'far' : isLong ? 'long' : 'near';
      arbiter.granted(index, 1, tenant);
      started[tenant] += 1;
      if (tenant === 'far') continue;
      tags[tenant] += tenant === 'long' ? 1 + units : 1;
      if (tenant === 'near') continue;
      arbiter.charged(0, units, 'long', 1);
      if (started.long === longJobs) arbiter.setWeight(0, 1);
    }
    return started;
  }

  test('do not pay for it when it is gone', () => {
    const { long, near, far } = serve(1000, 100_000, 1);
    expect(long).toBe(1);
    expect(Math.abs(near - far)).toBeLessThanOrEqual(3);
  });

  test('have as much as those elsewhere while it stays', () => {
    const { long, near, far } = serve(21_000, 99, Infinity);
    expect(Math.abs(near - far)).toBeLessThanOrEqual(200);
    expect(Math.abs(long * 100 - far)).toBeLessThanOrEqual(200);
  });
});

test('a weight that is no positive number is ignored; one that nobody knows is 1', () => {
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
