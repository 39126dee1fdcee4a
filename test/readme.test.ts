import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ADMIN_TOKEN, startApi } from './api/support/api.ts';
import type { Api } from './api/support/api.ts';
import type { EntryProcess } from './api/support/process.ts';
import { startWorker } from './api/support/worker.ts';
import { like, missing, readmeExamples } from './support/readme.ts';
import { freshRedisUrl } from './support/redis.ts';

const README = readFileSync(fileURLToPath(new URL('../README.md', import.meta.url)), 'utf8');
const examples = readmeExamples(README);
const installed = spawnSync('curl', ['--version']).status === 0;
if (!installed) process.stderr.write('The examples of the README are not run: there is no curl.\n');
/** Printed between the examples. */
const MARK = '--- end of an example ---';

let api: Api;
let worker: EntryProcess;
let folder: string;

beforeAll(async () => {
  const redisUrl = await freshRedisUrl();
  api = await startApi(redisUrl);
  worker = startWorker(redisUrl);
  folder = mkdtempSync(join(tmpdir(), 'waggle-readme-'));
  // Only so that the answers of several calls can be told apart, and nothing but them is printed.
  writeFileSync(join(folder, '.curlrc'), 'silent\nshow-error\nwrite-out = "\\n"\n');
});
afterAll(async () => {
  await worker?.stop();
  await api?.stop();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

test('every example says what it prints, and finds the API where the README says it is', () => {
  expect(examples.length).toBeGreaterThanOrEqual(10);
  for (const { line, script, expected } of examples) {
    expect([line, script.match(/localhost|127\.0\.0\.1/)]).toEqual([line, null]);
    expect([line, expected]).toEqual([line, expect.anything()]);
  }
  expect(README).toContain('export WAGGLE=http://localhost:3000');
});

test('an example that prints something else is noticed', () => {
  const shown = { id: 'default.…', state: 'completed', tags: ['a'] };
  expect(missing(shown, { id: 'default.01', state: 'completed', tags: ['a'], more: 1 })).toEqual([]);
  expect(missing(shown, { id: 'mail.01', state: 'failed', tags: ['a', 'b'] })).toHaveLength(3);
  expect(missing(shown, {})).toHaveLength(3);
  expect(jsonFaults('{"a": 1}', '{"a": 1}\n{"a": 2}')).toHaveLength(1);
  expect(jsonFaults('{"a": 1}', 'not JSON')).toHaveLength(1);
  expect(textFaults('event: b\nevent: a …', 'event: a 1\nevent: b\n')).toEqual(['event: a …']);
});

(installed ? test : test.skip)(
  'every example does what the README says, one after the other in one shell',
  async () => {
    const script = examples.map((example) => `${example.script}\necho '${MARK}'\n`).join('');
    const { code, stdout, stderr } = await bash(`set -euo pipefail\n${script}`);
    const outputs = stdout.split(`${MARK}\n`);
    for (const [place, { chapter, line, expected }] of examples.entries()) {
      const output = outputs[place] ?? '';
      const faults =
        expected?.language === 'json'
          ? jsonFaults(expected.text, output)
          : textFaults(expected?.text, output);
      expect({ chapter, line, faults, output: faults.length > 0 ? output : '' }).toEqual({
        chapter,
        line,
        faults: [],
        output: '',
      });
    }
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  },
);

/** Each line is an answer, and there are as many as are shown. */
function jsonFaults(expected: string, output: string): string[] {
  const [shown, printed] = [expected, output].map((lines) => lines.split('\n').filter((line) => line !== ''));
  return missing(shown?.map(parsed), printed?.map(parsed));
}

/** The lines shown, in this order; others may stand between them. */
function textFaults(expected = '', output: string): string[] {
  const printed = output.split('\n');
  return expected.split('\n').filter((line) => {
    if (line === '') return false;
    // A space before `…` belongs to how it is shown.
    const place = printed.findIndex((actual) => like(line.replace(' …', '…')).test(actual));
    if (place >= 0) printed.splice(0, place + 1);
    return place < 0;
  });
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return `no JSON: ${line}`;
  }
}

async function bash(script: string): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn('bash', ['-c', script], {
    cwd: folder,
    env: { PATH: process.env['PATH'], HOME: folder, WAGGLE: api.url, WAGGLE_ADMIN_TOKEN: ADMIN_TOKEN },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const code = new Promise<number | null>((resolve) => child.on('close', resolve));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, stdout, stderr };
}
