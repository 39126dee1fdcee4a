import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, test } from '@jest/globals';
import fc from 'fast-check';
import { SEED } from '../../support/seed.ts';
import { drain } from './scheduler-drain.ts';
import { SHARDS, programs } from './scheduler-program.ts';
import type { Operation } from './scheduler-program.ts';
import { Shard } from './scheduler-shard.ts';
import { Walk } from './scheduler-walk.ts';

const RUNS = Number(process.env.FC_RUNS ?? 20);
const LENGTH = Number(process.env.FC_LENGTH ?? 160);

const shards: Shard[] = [];
let operations = 0;

beforeAll(async () => {
  for (let i = 0; i < SHARDS; i += 1) shards.push(await Shard.open());
});

afterAll(async () => {
  await Promise.all(shards.map((shard) => shard.lab.close()));
  const { FC_REPORT } = process.env;
  if (FC_REPORT) writeFileSync(FC_REPORT, String(operations));
});

async function run(program: readonly Operation[]): Promise<void> {
  for (const shard of shards) await shard.clear();
  const walks = shards.map((shard) => new Walk(shard));
  const step = async (walk: Walk | undefined, operation: Operation, name: string): Promise<void> => {
    operations += 1;
    try {
      await walk?.step(operation);
    } catch (error) {
      throw new Error(`${name} ${JSON.stringify(operation)}\n${String(error)}`, { cause: error });
    }
  };
  for (const [i, operation] of program.entries()) await step(walks[operation.shard], operation, `step ${i}`);
  for (const [i, walk] of walks.entries())
    await drain(walk, shards[i] as Shard, (operation) => step(walk, operation, `at the end, prefix ${i}`));
}

/** A failed program as one could type it in again: the shortest that fast-check found, an operation a line. */
function report(details: fc.RunDetails<[readonly Operation[]]>): void {
  if (!details.failed) return;
  const [program = []] = details.counterexample ?? [];
  throw new Error(
    [
      `seed ${details.seed}, path ${details.counterexamplePath}, after ${details.numRuns} programs:`,
      ...program.map((operation) => JSON.stringify(operation)),
      String(details.errorInstance),
    ].join('\n'),
  );
}

test('random programs keep every invariant of the scheduler', async () => {
  const property = fc.asyncProperty(programs(LENGTH), run);
  await fc.assert(property, { numRuns: RUNS, seed: SEED, asyncReporter: async (each) => report(each) });
}, 3_600_000);
