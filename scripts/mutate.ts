/**
 * Mutation run: seeds one fault after the other into a copy of the project and sees whether the tests that should notice
 * it fail. Usage: npm run mutate [-- part of '<file>: <what is replaced>']. Exit code 1 when a fault goes unnoticed.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Mutant } from './mutant.ts';
import { mutants } from './mutants.ts';

/** More programs than by default: a fault may need a rare one. */
const FC_RUNS = process.env.FC_RUNS ?? '150';

const root = new URL('..', import.meta.url).pathname;

function copyProject(): string {
  const copy = mkdtempSync(join(tmpdir(), 'waggle-mutants-'));
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  for (const file of files.split('\n').filter(Boolean)) cpSync(join(root, file), join(copy, file));
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

function passes(copy: string, tests: string): boolean {
  // In one process: those of its own would outlive a run that ends at its first failure.
  const args = ['test', '--', '--bail', '--runInBand', ...tests.split(' ')];
  return (
    spawnSync('npm', args, { cwd: copy, env: { ...process.env, FC_RUNS, FC_SHRINK: '0' }, stdio: 'ignore' })
      .status === 0
  );
}

/** Whether the tests fail with the fault in place. */
function isNoticed(copy: string, mutant: Mutant): boolean {
  const path = join(copy, mutant.file);
  const original = readFileSync(path, 'utf8');
  if (original.split(mutant.from).length !== 2)
    throw new Error(`${mutant.file} must have this exactly once: ${mutant.from}`);
  writeFileSync(
    path,
    original.replace(mutant.from, () => mutant.to),
  );
  try {
    return !passes(copy, mutant.tests);
  } finally {
    writeFileSync(path, original);
  }
}

const wanted = mutants.filter((mutant) => `${mutant.file}: ${mutant.from}`.includes(process.argv[2] ?? ''));
const copy = copyProject();
let unnoticed = 0;
try {
  // A test that fails anyway would notice everything.
  for (const tests of new Set(wanted.flatMap((mutant) => mutant.tests.split(' '))))
    if (!passes(copy, tests)) throw new Error(`without any fault this does not pass: ${tests}`);
  for (const mutant of wanted) {
    const noticed = isNoticed(copy, mutant);
    if (!noticed) unnoticed += 1;
    const change = `${mutant.from.trim().split('\n')[0]} -> ${mutant.to.trim().split('\n')[0]}`;
    process.stdout.write(`${noticed ? 'noticed  ' : 'UNNOTICED'} ${mutant.file}: ${change}\n`);
  }
} finally {
  rmSync(copy, { recursive: true });
}
process.stdout.write(`${wanted.length - unnoticed} of ${wanted.length} faults noticed\n`);
process.exitCode = unnoticed === 0 ? 0 : 1;
