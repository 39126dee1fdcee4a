/**
 * Runs every check, two at a time and the slowest first; each goes on when another fails. Prints one line per check,
 * and the output of those that failed. Exit code 1 when any failed.
 */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';

const waiting = ['lint', 'typecheck', 'imports', 'format:check', 'unused'];
const AT_ONCE = 2;

async function run(script: string): Promise<boolean> {
  const startedAt = Date.now();
  const child = spawn('npm', ['run', '--silent', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve, reject) =>
    child.on('close', resolve).on('error', reject),
  );
  const [code, ...output] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
  process.stdout.write(`${code === 0 ? 'ok    ' : 'FAILED'} ${script} (${seconds} s)\n`);
  if (code !== 0) process.stdout.write(output.join(''));
  return code === 0;
}

async function runInTurn(): Promise<boolean> {
  let passed = true;
  for (let script = waiting.shift(); script; script = waiting.shift()) passed = (await run(script)) && passed;
  return passed;
}

const lanes = await Promise.all(Array.from({ length: AT_ONCE }, runInTurn));
process.exitCode = lanes.every(Boolean) ? 0 : 1;
