import { test } from '@jest/globals';
import fc from 'fast-check';
import { inPair } from './batch-pair.ts';
import { program } from './batch-program.ts';

const RUNS = Number(process.env.FC_RUNS ?? 20);

test('what is done in one turn is what is done one by one', async () => {
  await fc.assert(
    fc.asyncProperty(program, async ({ unprioritized, steps }) => {
      await inPair(unprioritized, async (pair) => {
        for (const step of steps) await pair.step(step);
        await pair.drain();
      });
    }),
    { numRuns: RUNS },
  );
}, 300_000);
