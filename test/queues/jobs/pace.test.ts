import { expect, test } from '@jest/globals';
import { Pace } from '../../../queues/jobs/pace.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('few acts run at once; of many some in each turn, in order, whoever comes meanwhile', async () => {
  const pace = new Pace(10);
  const ran: number[] = [];
  const run = (from: number, to: number): void => {
    for (let n = from; n < to; n += 1) pace.run(() => ran.push(n));
  };
  run(0, 25);
  expect(ran).toHaveLength(10);
  await turn();
  expect(ran).toHaveLength(20);
  run(25, 35);
  await turn();
  expect(ran).toHaveLength(30);
  await turn();
  expect(ran).toEqual(Array.from({ length: 35 }, (_, n) => n));
  await turn();
  run(35, 60);
  expect(ran).toHaveLength(45);
});
