/**
 * Random programs for the whole scheduler, for a night: batches of them, each with a seed of its own, until so many
 * operations are done. Usage: npm run nightly [-- operations [seed]]. Prints the operations and the seed of each batch;
 * FC_SEED=<seed> FC_RUNS=<programs> FC_LENGTH=<operations> npm test -- test/queues/fair/scheduler repeats one.
 * Exit code 1 when a program fails.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAMS = '100';
const LENGTH = '200';
/** Whatever happens: a batch takes minutes. */
const BATCHES = 500;

const wanted = Number(process.argv[2] ?? 200_000);
const seed = Number(process.argv[3] ?? Math.trunc(Math.random() * 2 ** 30));
const folder = mkdtempSync(join(tmpdir(), 'waggle-nightly-'));

/** Runs a batch; resolves with the operations it did, null when a program failed. */
function runBatch(batchSeed: number): number | null {
  const report = join(folder, String(batchSeed));
  const env = {
    ...process.env,
    FC_RUNS: PROGRAMS,
    FC_LENGTH: LENGTH,
    FC_SEED: String(batchSeed),
    FC_REPORT: report,
  };
  const { status, stdout, stderr } = spawnSync('npm', ['test', '--', 'test/queues/fair/scheduler'], {
    env,
    encoding: 'utf8',
  });
  if (status === 0) return Number(readFileSync(report, 'utf8'));
  process.stderr.write(`${stdout}${stderr}`);
  return null;
}

let done = 0;
try {
  for (let batch = 0; batch < BATCHES && done < wanted; batch += 1) {
    const operations = runBatch(seed + batch);
    if (operations === null) {
      process.exitCode = 1;
      break;
    }
    done += operations;
    process.stdout.write(`${done} operations, seed ${seed + batch}: every invariant held\n`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
