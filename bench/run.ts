/** Runs every benchmark and writes `bench/results/<date>.md`: see README.md. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { machineHeader } from './harness.ts';
import { flag, readOptions } from './options.ts';

const options = readOptions('run', {
  full: flag('the full sizes instead of moderate ones; takes far longer'),
});

const moderate = [
  'drain --jobs 20000 --singles 5000 --runs 3',
  'drain --jobs 20000 --singles 5000 --runs 3 --processes 1 --tenants 100 --keep',
  'fairness --runs 1',
  'latency --jobs 500 --runs 3',
  'memory --jobs 200000 --runs 1',
  'drain --jobs 20000 --singles 5000 --runs 3 --processes 2 --tenants 100 --limits --keys 1000',
  'longest --percent 5',
  'shards',
  'others --jobs 20000 --runs 3',
  'idle',
  'usage',
  'scrape --jobs 1,10000',
  'waiters --clients 2000 --streams 200',
];

const full = [
  'drain',
  'drain --processes 1 --tenants 10000 --order shuffled',
  'drain --processes 1,2 --tenants 100 --keep',
  'fairness',
  'latency',
  'memory',
  'memory --keys 1000',
  'drain --processes 2 --tenants 100,10000 --limits',
  'drain --processes 2 --tenants 100,10000 --limits --keys 1000',
  'drain --processes 2 --tenants 100 --limits --keys 10',
  'drain --processes 2 --tenants 1000000 --jobs 1000000 --runs 3',
  'longest --runs 3',
  'shards --jobs 20000',
  'others',
  'idle',
  'usage',
  'scrape',
  'waiters',
];

/** @returns what the program printed. @throws Error when it failed */
async function section(commandLine: string): Promise<string> {
  const [program = '', ...rest] = commandLine.split(' ');
  const file = fileURLToPath(new URL(`./${program}.ts`, import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', file, '--bare', ...rest], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [printed] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  if (child.exitCode !== 0) throw new Error(`${commandLine} failed with exit code ${child.exitCode}`);
  return printed.trimEnd();
}

const date = new Date().toISOString().slice(0, 10);
const sections = [`# Benchmarks of ${date}`, await machineHeader()];
for (const commandLine of options.full ? full : moderate) {
  sections.push(
    await section(commandLine),
    `\`node --import tsx bench/${commandLine.replace(' ', '.ts ')}\``,
  );
}
const folder = new URL('./results/', import.meta.url);
await mkdir(folder, { recursive: true });
const file = new URL(`${date}.md`, folder);
await writeFile(file, `${sections.join('\n\n')}\n`);
console.log(`${sections.join('\n\n')}\n\nwritten to ${fileURLToPath(file)}`);
